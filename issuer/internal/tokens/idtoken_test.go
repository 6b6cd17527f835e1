package tokens

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
)

// ring has the keys of an issuer that has just replaced its key for ID tokens: the old one is still published.
type ring struct {
	t            *testing.T
	signs        *jose.SigningKey
	alsoVerifies []*jose.SigningKey
}

func (r ring) Signer(keys.Use) (*jose.SigningKey, error) { return r.signs, nil }

func (r ring) KeySet() keys.Published {
	public := []json.RawMessage{r.signs.PublicJWK()}
	for _, k := range r.alsoVerifies {
		public = append(public, k.PublicJWK())
	}
	doc := jose.MarshalKeySet(public)
	set, _, err := jose.ParseKeySet(doc)
	if err != nil {
		r.t.Fatal(err)
	}
	return keys.Published{Document: doc, Keys: set, Current: true}
}

func signingKey(t *testing.T, alg jose.Algorithm) *jose.SigningKey {
	t.Helper()
	key, err := jose.GenerateSigningKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// An ID token is read back by the issuer that signed it, for the client it is for, until it expires; by a key that is published and signs no more, too.
func TestReadIDToken(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	m, issuer, es256 := minter(t, LifetimeDefault, now)
	old, rs256 := signingKey(t, jose.RS256), signingKey(t, jose.RS256)
	issuer.Keys = ring{t, old, nil}
	s := SignedIn{
		Issuer: issuer, Agent: agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: agentid.New[agentid.Organization]()}, Client: agentid.New[agentid.Client]().String(),
		SignIn: agentid.New[agentid.SignIn](), Authentication: Authentication{At: now, Context: "c", Methods: []string{"m"}}, AccessToken: "a",
	}
	text, err := m.IDToken(s)
	if err != nil {
		t.Fatal(err)
	}
	issuer.Keys = ring{t, rs256, []*jose.SigningKey{old, es256}}
	got, err := ReadIDToken(issuer, text, s.Client, now.Add(IDTokenLifetime-time.Second))
	if err != nil || got.Subject != s.Agent.ID || got.SignIn != s.SignIn || got.ExpiresAt.Unix() != now.Add(IDTokenLifetime).Unix() {
		t.Fatalf("%+v, %v", got, err)
	}

	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	signed := func(key *jose.SigningKey, typ string, change map[string]any) string {
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		for name, value := range change {
			claims[name] = value
		}
		changed, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		text, err := key.Sign(typ, changed)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, err := ReadIDToken(issuer, signed(rs256, "JWT", nil), s.Client, now); err != nil {
		t.Fatalf("the same claims, signed anew: %v", err) // so that what is refused below is refused for its change
	}
	other := issuer
	other.ID += "/o/acme"
	for name, tt := range map[string]struct {
		issuer issuers.Issuer
		text   string
		client string
		at     time.Time
	}{
		"expired":                     {issuer, text, s.Client, now.Add(IDTokenLifetime)},
		"another client's":            {issuer, text, agentid.New[agentid.Client]().String(), now},
		"another issuer's":            {other, text, s.Client, now},
		"of no issuer":                {issuers.Issuer{}, text, s.Client, now},
		"of a key that is not ours":   {issuer, signed(signingKey(t, jose.RS256), "JWT", nil), s.Client, now},
		"of the key of access tokens": {issuer, signed(es256, "JWT", nil), s.Client, now},
		"an access token by its type": {issuer, signed(rs256, "at+jwt", nil), s.Client, now},
		"an ID-JAG":                   {issuer, signed(rs256, typeIDJAG, nil), s.Client, now},
		"from the future":             {issuer, signed(rs256, "JWT", map[string]any{"iat": now.Unix() + 5}), s.Client, now},
		"of a long life":              {issuer, signed(rs256, "JWT", map[string]any{"exp": now.Add(time.Hour).Unix()}), s.Client, now},
		"of no sign-in":               {issuer, signed(rs256, "JWT", map[string]any{"sid": nil}), s.Client, now},
		"about no agent":              {issuer, signed(rs256, "JWT", map[string]any{"sub": "somebody"}), s.Client, now},
		"no token":                    {issuer, "x", s.Client, now},
	} {
		if got, err := ReadIDToken(tt.issuer, tt.text, tt.client, tt.at); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
