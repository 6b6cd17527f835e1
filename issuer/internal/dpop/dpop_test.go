package dpop

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

const endpoint = "https://id.example.com:8443/oauth2/token"

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func checker(t *testing.T, secret string, nonceRequired bool) *Checker {
	t.Helper()
	c, err := New([]byte(strings.Repeat(secret, 32)), nonceRequired)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func request(proofs ...string) *http.Request {
	r := httptest.NewRequest("POST", "/oauth2/token", nil)
	for _, p := range proofs {
		r.Header.Add("dpop", p)
	}
	return r
}

// asError is the OAuth error, or fails the test.
func asError(t *testing.T, err error) *oauth.Error {
	t.Helper()
	e, ok := err.(*oauth.Error)
	if !ok {
		t.Fatalf("%v is no OAuth error", err)
	}
	return e
}

func TestNoProofIsNone(t *testing.T) {
	t.Parallel()
	if p, err := checker(t, "a", true).Check(request(), endpoint, "", noon); p != nil || err != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

// RFC 9449 s4.3, check by check.
func TestProofs(t *testing.T) {
	t.Parallel()
	c, h, other := checker(t, "a", false), josetest.NewHolder(), josetest.NewHolder()
	proof := func(changes ...any) string {
		return h.Prove("POST", endpoint, "", noon, append([]any{"ath", nil}, changes...)...)
	}
	good := proof()
	parts := strings.Split(good, ".")
	for name, tt := range map[string]struct {
		proofs []string
		code   oauth.Code
	}{
		"good":                            {[]string{good}, ""},
		"the default port is another":     {[]string{proof("htu", "https://id.example.com/oauth2/token")}, oauth.InvalidDPoPProof},
		"host in upper case":              {[]string{proof("htu", "HTTPS://ID.example.com:8443/oauth2/token")}, ""},
		"two":                             {[]string{good, proof()}, oauth.InvalidDPoPProof},
		"the same twice":                  {[]string{good, good}, oauth.InvalidDPoPProof},
		"two in one field":                {[]string{good + "," + good}, oauth.InvalidDPoPProof},
		"empty":                           {[]string{""}, oauth.InvalidDPoPProof},
		"not a proof":                     {[]string{"a.b.c"}, oauth.InvalidDPoPProof},
		"signed by another":               {[]string{parts[0] + "." + parts[1] + "." + strings.Split(other.Prove("POST", endpoint, "", noon), ".")[2]}, oauth.InvalidDPoPProof},
		"another method":                  {[]string{proof("htm", "GET")}, oauth.InvalidDPoPProof},
		"method in lower case":            {[]string{proof("htm", "post")}, oauth.InvalidDPoPProof},
		"another endpoint":                {[]string{proof("htu", "https://id.example.com:8443/oauth2/par")}, oauth.InvalidDPoPProof},
		"another organization's endpoint": {[]string{proof("htu", "https://id.example.com:8443/o/acme/oauth2/token")}, oauth.InvalidDPoPProof},
		"another host":                    {[]string{proof("htu", "https://evil.example:8443/oauth2/token")}, oauth.InvalidDPoPProof},
		"plaintext":                       {[]string{proof("htu", "http://id.example.com:8443/oauth2/token")}, oauth.InvalidDPoPProof},
		"with a query":                    {[]string{proof("htu", endpoint+"?a=b")}, ""},
		"with a fragment":                 {[]string{proof("htu", endpoint+"#a")}, ""},
		"with a slash at the end":         {[]string{proof("htu", endpoint+"/")}, oauth.InvalidDPoPProof},
		"path in upper case":              {[]string{proof("htu", strings.Replace(endpoint, "token", "Token", 1))}, oauth.InvalidDPoPProof},
		"in another spelling":             {[]string{proof("htu", strings.Replace(endpoint, "token", "%74oken/x/..", 1))}, oauth.InvalidDPoPProof},
		"in another spelling of the same": {[]string{proof("htu", strings.Replace(endpoint, "/oauth2/token", "/./%6Fauth2/x/../token", 1))}, ""},
		"in somebody's name":              {[]string{proof("htu", strings.Replace(endpoint, "://", "://a@", 1))}, oauth.InvalidDPoPProof},
		"only a host":                     {[]string{proof("htu", "https://id.example.com:8443")}, oauth.InvalidDPoPProof},
		"at the age limit":                {[]string{proof("iat", noon.Add(-proofAgeMax).Unix())}, ""},
		"too old":                         {[]string{proof("iat", noon.Add(-proofAgeMax-time.Second).Unix())}, oauth.InvalidDPoPProof},
		"a little ahead":                  {[]string{proof("iat", noon.Add(jose.ProofAheadMax).Unix())}, ""},
		"from the future":                 {[]string{proof("iat", noon.Add(jose.ProofAheadMax+time.Second).Unix())}, oauth.InvalidDPoPProof},
		"no jti":                          {[]string{proof("jti", nil)}, oauth.InvalidDPoPProof},
		"a nonce of somebody":             {[]string{proof("nonce", "x")}, ""}, // none is required
	} {
		p, err := c.Check(request(tt.proofs...), endpoint, "", noon)
		switch {
		case tt.code == "" && (err != nil || p.Thumbprint != h.Thumbprint()):
			t.Errorf("%s: %+v, %v", name, p, err)
		case tt.code != "" && (err == nil || asError(t, err).Code != tt.code):
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if _, err := c.Check(request(h.Prove("POST", "https://id.example.com:443/oauth2/token", "", noon)), "https://id.example.com/oauth2/token", "", noon); err != nil {
		t.Errorf("the default port: %v", err)
	}
}

func TestTokenHash(t *testing.T) {
	t.Parallel()
	c, h := checker(t, "a", false), josetest.NewHolder()
	for name, tt := range map[string]struct {
		proof string
		ok    bool
	}{
		"of the token": {h.Prove("POST", endpoint, "token", noon), true},
		"of another":   {h.Prove("POST", endpoint, "other", noon), false},
		"none":         {h.Prove("POST", endpoint, "", noon, "ath", nil), false},
	} {
		if _, err := c.Check(request(tt.proof), endpoint, "token", noon); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A nonce that one process gave is good at another, for as long as it lives, and nobody else can make one.
func TestNonces(t *testing.T) {
	t.Parallel()
	here, there, strangers, h := checker(t, "a", true), checker(t, "a", true), checker(t, "b", true), josetest.NewHolder()
	prove := func(at time.Time, nonce any) *http.Request {
		return request(h.Prove("POST", endpoint, "", at, "nonce", nonce))
	}
	_, err := here.Check(prove(noon, nil), endpoint, "", noon)
	e := asError(t, err)
	if e.Code != oauth.UseDPoPNonce || e.DPoPNonce == "" {
		t.Fatalf("without a nonce: %+v", e)
	}
	nonce := e.DPoPNonce
	if _, err := strangers.Check(prove(noon, nonce), endpoint, "", noon); err == nil {
		t.Error("a nonce of another issuer was taken")
	}
	for _, tt := range []struct {
		after     time.Duration
		ok, fresh bool
	}{
		{-clockDifference - time.Second, false, false},
		{-clockDifference, true, true},
		{0, true, true},
		{nonceLife / 2, true, true},
		{nonceLife/2 + time.Second, true, false},
		{nonceLife, true, false},
		{nonceLife + time.Second, false, false},
	} {
		at := noon.Add(tt.after)
		p, err := there.Check(prove(at, nonce), endpoint, "", at)
		if (err == nil) != tt.ok {
			t.Errorf("after %s: %v", tt.after, err)
			continue
		}
		if !tt.ok {
			if e := asError(t, err); e.Code != oauth.UseDPoPNonce || e.DPoPNonce == "" || e.DPoPNonce == nonce {
				t.Errorf("after %s: %+v", tt.after, e)
			}
			continue
		}
		if (p.NextNonce == "") != tt.fresh {
			t.Errorf("after %s the next nonce is %q", tt.after, p.NextNonce)
		}
	}
	for _, bad := range []string{"x", nonce + "=", nonce[:len(nonce)-1] + "!", "B" + nonce[1:], nonce[:10]} {
		if _, err := here.Check(prove(noon, bad), endpoint, "", noon); err == nil {
			t.Errorf("nonce %q was taken", bad)
		}
	}
}

// What was not asked for is asked for at once with the nonce that the proof needs.
func TestDemand(t *testing.T) {
	t.Parallel()
	if e := checker(t, "a", true).Demand(noon); e.Code != oauth.InvalidDPoPProof || e.DPoPNonce == "" {
		t.Errorf("%+v", e)
	}
	if e := checker(t, "a", false).Demand(noon); e.DPoPNonce != "" {
		t.Errorf("%+v", e)
	}
}

// A use is of a key and a jti; it is remembered until the proof is too old.
func TestUses(t *testing.T) {
	t.Parallel()
	c, h, other := checker(t, "a", false), josetest.NewHolder(), josetest.NewHolder()
	use := func(h *josetest.Holder, jti string) [32]byte {
		p, err := c.Check(request(h.Prove("POST", endpoint, "", noon, "jti", jti)), endpoint, "", noon)
		if err != nil {
			t.Fatal(err)
		}
		if end := p.Use.ExpiresAt; end.Before(noon.Add(proofAgeMax)) {
			t.Errorf("forgotten at %s, while it would be taken", end)
		}
		return p.Use.Key
	}
	first, again := use(h, "1"), use(h, "1")
	if first != again || first == use(h, "2") || first == use(other, "1") {
		t.Error("uses are not told apart by key and jti")
	}
}

func TestShortSecret(t *testing.T) {
	t.Parallel()
	if _, err := New(make([]byte, 31), true); err == nil {
		t.Error("31 bytes are taken")
	}
}
