package extauthz

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

const (
	orderPath = "/orders/1"
	orderURI  = "https://shop.example/orders/1"
)

// longStarted is a process that has run for an hour: what was used before it started is too old by now.
func longStarted(o *Options) { o.Possession.Started = josetest.Now().Add(-time.Hour) }

// withProof asks for orderPath as a DPoP client does.
func withProof(token, proof string, more ...string) *authv3.CheckRequest {
	return request("GET", orderPath, append([]string{"authorization", "DPoP " + token, "dpop", proof}, more...)...)
}

func boundTo(members ...any) map[string]any {
	cnf := map[string]any{}
	for n := 0; n < len(members); n += 2 {
		cnf[members[n].(string)] = members[n+1]
	}
	return map[string]any{"cnf": cnf}
}

// Each row of notes on RFC 9449 proofs that is about more than the proof itself, and each spelling of htu.
func TestPossessionOfAKey(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, longStarted)
	sign := e.signer(t)
	holder, stranger, now := josetest.NewHolder(), josetest.NewHolder(), josetest.Now()
	token := sign(boundTo("jkt", holder.Thumbprint()))
	other := sign(map[string]any{"jti": "t-2", "cnf": map[string]any{"jkt": holder.Thumbprint()}})
	free := sign(nil)
	prove := func(changes ...any) *authv3.CheckRequest {
		return withProof(token, holder.Prove("GET", orderURI, token, now, changes...))
	}
	good := holder.Prove("GET", orderURI, token, now)
	for name, c := range map[string]struct {
		in   *authv3.CheckRequest
		code string // "" is allowed
	}{
		"good":                          {prove(), ""},
		"oldest":                        {prove("iat", now.Unix()-60), ""},
		"clock ahead":                   {prove("iat", now.Unix()+20), ""},
		"htu with the default port":     {prove("htu", "https://shop.example:443/orders/1"), ""},
		"htu in upper case":             {prove("htu", "HTTPS://SHOP.example/orders/1"), ""},
		"nonce nobody asked for":        {prove("nonce", "x"), ""},
		"scheme in lower case":          {request("GET", orderPath, "authorization", "dpop "+token, "dpop", holder.Prove("GET", orderURI, token, now)), ""},
		"query":                         {request("GET", orderPath+"?x=1", "authorization", "DPoP "+token, "dpop", holder.Prove("GET", orderURI, token, now)), ""},
		"htm of another method":         {prove("htm", "POST"), "proof_method"},
		"htm in lower case":             {prove("htm", "get"), "proof_method"},
		"htm missing":                   {prove("htm", nil), "proof_claims"},
		"htu of another path":           {prove("htu", "https://shop.example/orders/2"), "proof_uri"},
		"htu with path in upper case":   {prove("htu", "https://shop.example/ORDERS/1"), "proof_uri"},
		"htu with an escape":            {prove("htu", "https://shop.example/orders/%31"), ""},
		"htu with a query":              {prove("htu", orderURI+"?x=1"), ""},
		"htu with a fragment":           {prove("htu", orderURI+"#x"), ""},
		"htu in somebody's name":        {prove("htu", "https://a@shop.example/orders/1"), "proof_uri"},
		"htu of another host":           {prove("htu", "https://evil.example/orders/1"), "proof_uri"},
		"htu of another port":           {prove("htu", "https://shop.example:8443/orders/1"), "proof_uri"},
		"htu of another scheme":         {prove("htu", "http://shop.example/orders/1"), "proof_uri"},
		"htu missing":                   {prove("htu", nil), "proof_claims"},
		"ath missing":                   {prove("ath", nil), "proof_token"},
		"ath of another token":          {withProof(token, holder.Prove("GET", orderURI, other, now)), "proof_token"},
		"iat old":                       {prove("iat", now.Unix()-61), "proof_time"},
		"iat in the future":             {prove("iat", now.Unix()+21), "proof_time"},
		"iat missing":                   {prove("iat", nil), "proof_claims"},
		"iat a string":                  {prove("iat", "1790000000"), "proof_claims"},
		"jti missing":                   {prove("jti", nil), "proof_claims"},
		"jti huge":                      {prove("jti", strings.Repeat("j", 257)), "proof_claims"},
		"by another key":                {withProof(token, stranger.Prove("GET", orderURI, token, now)), "proof_binding"},
		"signature by another key":      {withProof(token, stranger.Sign(part(good, 0), part(good, 1))), "proof_signature"},
		"no proof":                      {request("GET", orderPath, "authorization", "DPoP "+token), "proof_missing"},
		"two proofs":                    {withProof(token, good, "dpop", holder.Prove("GET", orderURI, token, now)), "request_duplicate"},
		"the same proof twice":          {withProof(token, good, "dpop", good), "request_duplicate"},
		"two proofs in one":             {withProof(token, good+","+good), "proof_malformed"},
		"the token as proof":            {withProof(token, token), "proof_type"},
		"downgrade to Bearer":           {request("GET", orderPath, "authorization", "Bearer "+token), "token_constrained"},
		"downgrade, with a proof":       {request("GET", orderPath, "authorization", "Bearer "+token, "dpop", holder.Prove("GET", orderURI, token, now)), "token_constrained"},
		"DPoP with an unbound token":    {withProof(free, holder.Prove("GET", orderURI, free, now)), "token_not_bound"},
		"unbound token as Bearer":       {request("GET", orderPath, "authorization", "Bearer "+free), ""},
		"proof beside a Bearer token":   {request("GET", orderPath, "authorization", "Bearer "+free, "dpop", "x"), ""},
		"bound to two, one proved":      {asDPoP(sign(boundTo("jkt", holder.Thumbprint(), "x5t#S256", strings.Repeat("A", 43))), holder), "certificate_mismatch"},
		"bound to two, both proved":     {asDPoP(sign(boundTo("jkt", holder.Thumbprint(), "spiffe_id", "spiffe://example/caller")), holder), ""},
		"bound to what nobody knows":    {asDPoP(sign(boundTo("jkt", holder.Thumbprint(), "osc", "x")), holder), "token_constrained"},
		"bound to nothing":              {request("GET", orderPath, "authorization", "Bearer "+sign(boundTo())), "token_constrained"},
		"jkt of another form":           {asDPoP(sign(boundTo("jkt", "x")), holder), "token_constrained"},
		"jkt in upper case":             {request("GET", orderPath, "authorization", "Bearer "+sign(boundTo("JKT", holder.Thumbprint()))), "token_constrained"},
		"cnf in upper case":             {request("GET", orderPath, "authorization", "Bearer "+sign(map[string]any{"CNF": map[string]any{"jkt": holder.Thumbprint()}})), "token_claims"},
		"cnf that brings the whole key": {request("GET", orderPath, "authorization", "Bearer "+sign(boundTo("jwk", map[string]any{"kty": "oct"}))), "token_constrained"},
	} {
		t.Run(name, func(t *testing.T) {
			got := e.ask(t, c.in)
			if c.code == "" {
				if got.status != 200 || got.headers["x-agent-id"] != "agt_1" {
					t.Errorf("refused: %+v", got)
				}
				return
			}
			if got.code != c.code || got.status != 401 && c.code != "request_duplicate" {
				t.Errorf("got %+v, want 401 %s", got, c.code)
			}
			challenge := got.headers["www-authenticate"]
			if strings.HasPrefix(c.code, "proof_") && !strings.HasPrefix(challenge, `DPoP realm="agentidp", error="invalid_dpop_proof"`) {
				t.Errorf("challenge %q", challenge)
			}
		})
	}
}

// part is a decoded segment of a compact JWS.
func part(compact string, n int) string {
	text, _ := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[n])
	return string(text)
}

func asDPoP(token string, holder *josetest.Holder) *authv3.CheckRequest {
	return withProof(token, holder.Prove("GET", orderURI, token, josetest.Now()))
}

// Every proof of the corpus, good by itself or not, is refused with a token that is bound to another key or none.
func TestProofCorpusThroughCheck(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, longStarted)
	token := e.signer(t)(boundTo("jkt", josetest.NewHolder().Thumbprint()))
	for _, c := range josetest.ProofCorpus() {
		if got := e.ask(t, withProof(token, c.Proof)); got.status == 200 {
			t.Errorf("%s: WRONG ACCEPT", c.Name)
		}
	}
}

// Of a hundred requests at once with one proof, one is allowed.
func TestProofIsGoodOnce(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, longStarted)
	holder := josetest.NewHolder()
	token := e.signer(t)(boundTo("jkt", holder.Thumbprint()))
	in := asDPoP(token, holder)
	var allowed, replayed atomic.Int32
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			switch got := e.ask(t, in); {
			case got.status == 200:
				allowed.Add(1)
			case got.code == "proof_replayed":
				replayed.Add(1)
			}
		})
	}
	wait.Wait()
	if allowed.Load() != 1 || replayed.Load() != 99 {
		t.Errorf("%d allowed and %d refused as replays, want 1 and 99", allowed.Load(), replayed.Load())
	}
}

// A proof is remembered until it is too old, also one from a clock that is ahead, used just before others push it out.
func TestProofIsRememberedAsLongAsItIsGood(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	e := newEdge(t, ordersPolicy, func(o *Options) {
		longStarted(o)
		o.Now = func() time.Time { return josetest.Now().Add(time.Duration(clock.Load()) * time.Second) }
	})
	holder := josetest.NewHolder()
	token := e.signer(t)(boundTo("jkt", holder.Thumbprint()))
	ask := func(second int64, proof string) answer {
		clock.Store(second)
		return e.ask(t, withProof(token, proof))
	}
	fresh := func(second int64) string {
		return holder.Prove("GET", orderURI, token, josetest.Now().Add(time.Duration(second)*time.Second))
	}
	ahead := fresh(64)
	for _, step := range []struct {
		second int64
		proof  string
	}{{0, fresh(0)}, {59, ahead}, {60, fresh(60)}, {120, fresh(120)}} {
		if got := ask(step.second, step.proof); got.status != 200 {
			t.Fatalf("second %d: %+v", step.second, got)
		}
	}
	if got := ask(124, ahead); got.code != "proof_replayed" {
		t.Errorf("used at 59, again at 124: %+v", got)
	}
	if got := ask(125, ahead); got.code != "proof_time" {
		t.Errorf("used at 59, again at 125: %+v", got)
	}
}

// A refused proof is not used up: who sees a proof cannot spoil it by sending it elsewhere first.
func TestRefusedProofsAreNotUsedUp(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, longStarted)
	holder, stranger := josetest.NewHolder(), josetest.NewHolder()
	sign := e.signer(t)
	token := sign(boundTo("jkt", holder.Thumbprint()))
	theirs := sign(map[string]any{"jti": "t-2", "cnf": map[string]any{"jkt": stranger.Thumbprint()}})
	proof := holder.Prove("GET", orderURI, token, josetest.Now(), "jti", "same")
	elsewhere := request("GET", "/orders/2", "authorization", "DPoP "+token, "dpop", proof)
	if got := e.ask(t, elsewhere); got.code != "proof_uri" {
		t.Errorf("got %+v", got)
	}
	// RFC 9449 s11.1 with XukuLLC/attesto PR 18: the same jti by another key is another proof.
	if got := e.ask(t, withProof(theirs, stranger.Prove("GET", orderURI, theirs, josetest.Now(), "jti", "same"))); got.status != 200 {
		t.Errorf("got %+v", got)
	}
	if got := e.ask(t, withProof(token, proof)); got.status != 200 {
		t.Errorf("got %+v", got)
	}
}

func TestReplayStoreFullIs503(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, func(o *Options) { longStarted(o); o.Possession.ReplayBytes = 40 * 16 * 2 * 3 }) // three of one key
	holder := josetest.NewHolder()
	token := e.signer(t)(boundTo("jkt", holder.Thumbprint()))
	for n := range 5 {
		if got, want := e.ask(t, asDPoP(token, holder)).status, 200; (got == want) != (n < 3) || n >= 3 && got != 503 {
			t.Errorf("proof %d: status %d", n, got)
		}
	}
}

func TestNonceRequired(t *testing.T) {
	t.Parallel()
	now := josetest.Now()
	var clock atomic.Int64
	e := newEdge(t, ordersPolicy, func(o *Options) {
		longStarted(o)
		o.Possession.NonceRequired = true
		o.Now = func() time.Time { return now.Add(time.Duration(clock.Load())) }
	})
	holder := josetest.NewHolder()
	token := e.signer(t)(boundTo("jkt", holder.Thumbprint()))
	prove := func(changes ...any) answer {
		return e.ask(t, withProof(token, holder.Prove("GET", orderURI, token, e.options.Now(), changes...)))
	}
	challenged := prove()
	nonce := challenged.headers["dpop-nonce"]
	if challenged.status != 401 || challenged.code != "proof_nonce" || nonce == "" ||
		!strings.HasPrefix(challenged.headers["www-authenticate"], `DPoP realm="agentidp", error="use_dpop_nonce"`) {
		t.Fatalf("got %+v", challenged)
	}
	if got := prove("nonce", nonce); got.status != 200 {
		t.Errorf("with the nonce: %+v", got)
	}
	elsewhere := newEdge(t, ordersPolicy, func(o *Options) { longStarted(o); o.Possession.NonceRequired = true })
	elsewhere.store.Update(func(s *state.Snapshot) { s.Issuers = e.store.Load().Issuers })
	if got := elsewhere.ask(t, withProof(token, holder.Prove("GET", orderURI, token, now, "nonce", nonce))); got.code != "proof_nonce" {
		t.Errorf("another server's nonce: %+v", got)
	}
	clock.Store(int64(2*time.Minute + time.Second))
	if got := prove("nonce", nonce); got.code != "proof_nonce" || got.headers["dpop-nonce"] == nonce {
		t.Errorf("an old nonce: %+v", got)
	}
}

// What was used before a restart is forgotten, so proofs from before it need a nonce. Those from after it do not.
func TestProofsFromBeforeTheStart(t *testing.T) {
	t.Parallel()
	now := josetest.Now()
	for age, nonce := range map[time.Duration]bool{0: true, 20 * time.Second: true, 21 * time.Second: false, time.Hour: false} {
		e := newEdge(t, ordersPolicy, func(o *Options) { o.Possession.Started = now.Add(-age) })
		holder := josetest.NewHolder()
		token := e.signer(t)(boundTo("jkt", holder.Thumbprint()))
		got := e.ask(t, asDPoP(token, holder))
		if (got.code == "proof_nonce") != nonce {
			t.Errorf("started %s ago: %+v", age, got)
		}
		if !nonce {
			continue
		}
		if got := e.ask(t, withProof(token, holder.Prove("GET", orderURI, token, now, "nonce", got.headers["dpop-nonce"]))); got.status != 200 {
			t.Errorf("started %s ago, with the nonce: %+v", age, got)
		}
	}
}

// certified is a request over a connection with a client certificate, as Envoy tells of it.
func certified(in *authv3.CheckRequest, der []byte, principal string) *authv3.CheckRequest {
	in = proto.Clone(in).(*authv3.CheckRequest)
	in.Attributes.Source.Principal = principal
	if der != nil {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		in.Attributes.Source.Certificate = strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20")
	}
	return in
}

func TestPossessionOfACertificate(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, longStarted)
	sign := e.signer(t)
	mine, renewed, authority := bytes.Repeat([]byte{0x30, 0xfb}, 400), bytes.Repeat([]byte{0x30, 0xfc}, 400), []byte("authority")
	digest := sha256.Sum256(mine)
	thumbprint := base64.RawURLEncoding.EncodeToString(digest[:])
	bearer := request("GET", orderPath, "authorization", "Bearer "+sign(boundTo("x5t#S256", thumbprint)))
	workload := request("GET", orderPath, "authorization", "Bearer "+sign(boundTo("spiffe_id", "spiffe://example/caller")))
	chain := certified(bearer, mine, "")
	chain.Attributes.Source.Certificate += certified(bearer, authority, "").Attributes.Source.Certificate
	forged := request("GET", orderPath, "authorization", "Bearer "+sign(boundTo("x5t#S256", thumbprint)),
		"x-forwarded-client-cert", "Hash="+thumbprint+";Cert=\""+certified(bearer, mine, "").Attributes.Source.Certificate+"\";URI=spiffe://example/caller")
	for name, c := range map[string]struct {
		in   *authv3.CheckRequest
		code string
	}{
		"the certificate":                {certified(bearer, mine, ""), ""},
		"another, renewed":               {certified(bearer, renewed, ""), "certificate_mismatch"},
		"none":                           {certified(bearer, nil, ""), "certificate_mismatch"},
		"only who signed it":             {certified(bearer, authority, ""), "certificate_mismatch"},
		"a chain":                        {chain, "certificate_mismatch"},
		"named in a header":              {forged, "certificate_mismatch"},
		"named in a header, and another": {certified(forged, renewed, "spiffe://example/caller"), "certificate_mismatch"},
		"as DPoP":                        {certified(withProof(sign(boundTo("x5t#S256", thumbprint)), "x"), mine, ""), "token_not_bound"},
		"the workload":                   {certified(workload, mine, "spiffe://example/caller"), ""},
		"another workload":               {certified(workload, mine, "spiffe://example/caller2"), "principal_mismatch"},
		"workload in upper case":         {certified(workload, mine, "spiffe://example/Caller"), "principal_mismatch"},
		"no workload":                    {certified(workload, nil, ""), "principal_mismatch"},
		"not a SPIFFE ID": {
			certified(request("GET", orderPath, "authorization", "Bearer "+sign(boundTo("spiffe_id", "example"))), nil, "example"),
			"token_constrained",
		},
		"thumbprint in another base64": {certified(request("GET", orderPath, "authorization", "Bearer "+sign(boundTo("x5t#S256", thumbprint+"="))), mine, ""), "token_constrained"},
	} {
		got := e.ask(t, c.in)
		if c.code == "" && got.status != 200 || c.code != "" && (got.status != 401 || got.code != c.code) {
			t.Errorf("%s: got %+v, want %q", name, got, c.code)
		}
	}
}

// The verdict on a token is remembered, possession never is.
func TestPossessionIsCheckedOnEveryRequest(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, longStarted)
	digest := sha256.Sum256([]byte("mine"))
	token := e.signer(t)(boundTo("x5t#S256", base64.RawURLEncoding.EncodeToString(digest[:])))
	bearer := request("GET", orderPath, "authorization", "Bearer "+token)
	for range 200 {
		if got := e.ask(t, certified(bearer, []byte("mine"), "")); got.status != 200 {
			t.Fatalf("got %+v", got)
		}
		if got := e.ask(t, certified(bearer, []byte("theirs"), "")); got.status != 401 {
			t.Fatalf("got %+v", got)
		}
	}
}

func TestBoundTokensOnly(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, longStarted)
	sign := e.signer(t)
	holder := josetest.NewHolder()
	bound, free := sign(boundTo("jkt", holder.Thumbprint())), sign(nil)
	if got := e.ask(t, request("GET", orderPath, "authorization", "Bearer "+free)); got.status != 200 {
		t.Fatalf("got %+v", got)
	}
	for name, c := range map[string]struct {
		change  func(*state.Issuer) // also for a token that is remembered
		refused bool
	}{
		"of all":            {func(i *state.Issuer) { i.RequireBound, i.RequireBoundOf = true, nil }, true},
		"of this one":       {func(i *state.Issuer) { i.RequireBound, i.RequireBoundOf = false, []string{"org_b", "org_a"} }, true},
		"of another":        {func(i *state.Issuer) { i.RequireBound, i.RequireBoundOf = false, []string{"org_b"} }, false},
		"of nobody anymore": {func(i *state.Issuer) { i.RequireBound, i.RequireBoundOf = false, nil }, false},
	} {
		e.changeIssuer(c.change)
		if got := e.ask(t, request("GET", orderPath, "authorization", "Bearer "+free)); c.refused != (got.status == 401 && got.code == "token_unbound") || !c.refused && got.status != 200 {
			t.Errorf("%s: %+v", name, got)
		}
		if got := e.ask(t, asDPoP(bound, holder)); got.status != 200 {
			t.Errorf("%s, bound: %+v", name, got)
		}
	}
}

// The policy and the log see what the token is bound to, and neither the token nor the proof.
func TestConfirmationIsShown(t *testing.T) {
	t.Parallel()
	for want, cnf := range map[string]map[string]any{
		"none": nil, "dpop": {"jkt": ""}, "mtls": {"x5t#S256": ""}, "spiffe": {"spiffe_id": "spiffe://example/caller"},
	} {
		e := newEdge(t, `package agentidp.authz
import rego.v1
default allow := false
allow if input.identity.confirmation == "`+want+`"
`, longStarted)
		holder := josetest.NewHolder()
		digest := sha256.Sum256([]byte("mine"))
		changes := map[string]any{}
		if cnf != nil {
			if _, ok := cnf["jkt"]; ok {
				cnf["jkt"] = holder.Thumbprint()
			}
			if _, ok := cnf["x5t#S256"]; ok {
				cnf["x5t#S256"] = base64.RawURLEncoding.EncodeToString(digest[:])
			}
			changes["cnf"] = cnf
		}
		token := e.signer(t)(changes)
		in := request("GET", orderPath, "authorization", "Bearer "+token)
		if want == "dpop" {
			in = asDPoP(token, holder)
		}
		if got := e.ask(t, certified(in, []byte("mine"), "spiffe://example/caller")); got.status != 200 {
			t.Errorf("%s: %+v", want, got)
		}
	}
}
