package tokens

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
)

type signers struct {
	key *jose.SigningKey
	err error
}

func (s signers) KeySet() keys.Published { return keys.Published{} }

func (s signers) Signer(use keys.Use) (*jose.SigningKey, error) {
	if use != keys.AccessToken {
		return nil, errors.New("an access token is signed with another key")
	}
	return s.key, s.err
}

func minter(t *testing.T, lifetime time.Duration, now time.Time) (*Minter, issuers.Issuer, *jose.SigningKey) {
	t.Helper()
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	dids, err := did.NewNamespace(&url.URL{Scheme: "https", Host: "id.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMinter(lifetime, dids, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return m, issuers.Issuer{ID: "https://id.example.com", Keys: signers{key: key}}, key
}

// Our own verifier accepts what we sign, with the strictest rules it has.
func TestTokensVerify(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 9, 0, 0, 900e6, time.UTC)
	m, issuer, key := minter(t, LifetimeMax, now)
	a := Authorization{
		Issuer:     issuer,
		Agent:      agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: agentid.New[agentid.Organization](), Name: `"<&>` + "\u2028"},
		Credential: agentid.New[agentid.Credential](), Audience: []string{"svc://a"}, Scopes: []string{"x", "y"},
	}
	token, err := m.Mint(a)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseToken(token.Text)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := parsed.Verify(key.Verification(), &jose.Rules{
		Issuer: "https://id.example.com", Audiences: []string{"svc://a"}, Types: []string{"at+jwt"}, Algorithms: []jose.Algorithm{jose.ES256}, LifetimeMax: LifetimeMax,
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	agent, _ := claims.Extra["agent"].(map[string]any)
	if agent["name"] != `"<&>`+"\u2028" {
		t.Errorf("the name was changed: %q", agent["name"])
	}
	if claims.Extra["credential_id"] != a.Credential.String() {
		t.Errorf("credential_id %v, want %s", claims.Extra["credential_id"], a.Credential)
	}
	if claims.ID != token.ID || claims.KeyID != token.KeyID || claims.Extra["scope"] != token.Scope || claims.IssuedAt != token.IssuedAt.Unix() || claims.ExpiresAt != token.ExpiresAt.Unix() {
		t.Errorf("claims %+v, told %+v", claims, token)
	}
	if token.ExpiresIn != 899*time.Second {
		t.Errorf("the client is told %s, but the token lives 899.1 s from now", token.ExpiresIn)
	}
	again, err := m.Mint(a)
	if err != nil || again.ID == token.ID {
		t.Errorf("jti twice, or %v", err)
	}
}

func TestIssuedAt(t *testing.T) {
	t.Parallel()
	at := func(s int64, nanos int64) time.Time { return time.Unix(s, nanos) }
	for name, tt := range map[string]struct{ now, notBefore, want time.Time }{
		"never suspended":              {at(100, 0), time.Time{}, at(100, 0)},
		"suspended long ago":           {at(100, 0), at(50, 0), at(100, 0)},
		"watermark is this second":     {at(100, 0), at(100, 0), at(100, 0)},
		"watermark is the next second": {at(100, 0), at(101, 0), at(101, 0)},
	} {
		if got, err := issuedAt(tt.now, tt.notBefore); err != nil || !got.Equal(tt.want) {
			t.Errorf("%s: %d, want %d, %v", name, got.Unix(), tt.want.Unix(), err)
		}
	}
	_, err := issuedAt(at(100, 0), at(103, 0))
	if notYet, ok := errors.AsType[*NotYetError](err); !ok || notYet.Wait != 2*time.Second {
		t.Errorf("dead for two seconds more: %v", err)
	}
}

// A token whose iat is moved ahead does not live longer for it.
func TestWatermarkDoesNotExtendLife(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	m, issuer, _ := minter(t, time.Minute, now)
	token, err := m.Mint(Authorization{Issuer: issuer, Agent: agents.Agent{OrganizationID: agentid.New[agentid.Organization](), TokensNotBefore: now.Add(time.Second)}, Credential: agentid.New[agentid.Credential]()})
	if err != nil || token.ExpiresAt.Unix() != 1060 || token.IssuedAt.Unix() != 1001 {
		t.Errorf("%+v, %v", token, err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Text, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil || claims["nbf"] != 1000.0 || claims["iat"] != 1001.0 {
		t.Errorf("%s, %v", payload, err)
	}
}

func TestMinterRefuses(t *testing.T) {
	t.Parallel()
	for _, lifetime := range []time.Duration{0, LifetimeMin - 1, LifetimeMax + 1} {
		if _, err := NewMinter(lifetime, did.Namespace{}, time.Now); err == nil {
			t.Errorf("a lifetime of %s is accepted", lifetime)
		}
	}
	m, issuer, _ := minter(t, LifetimeDefault, time.Now())
	good := Authorization{
		Issuer: issuer, Agent: agents.Agent{OrganizationID: agentid.New[agentid.Organization]()}, Credential: agentid.New[agentid.Credential](),
	}
	if _, err := m.Mint(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Authorization){
		"no key":                        func(a *Authorization) { a.Issuer.Keys = signers{err: errors.New("no key")} },
		"no issuer":                     func(a *Authorization) { a.Issuer = issuers.Issuer{} },
		"another organization's issuer": func(a *Authorization) { a.Issuer.Organization = agentid.New[agentid.Organization]() },
		"no credential":                 func(a *Authorization) { a.Credential = agentid.Credential{} },
	} {
		a := good
		spoil(&a)
		if token, err := m.Mint(a); err == nil || token.Text != "" {
			t.Errorf("%s: %+v", name, token)
		}
	}
}
