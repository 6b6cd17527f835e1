package tokenstate

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// world is an issuer with one key, a store and a list that say what a test wants.
type world struct {
	key    *jose.SigningKey
	issuer issuers.Issuer
	at     time.Time
	asked  Facts
	lives  bool
	list   trust.RevocationList
	err    error
}

func (w *world) Signer(keys.Use) (*jose.SigningKey, error) { return w.key, nil }

func (w *world) KeySet() keys.Published {
	set, _, err := jose.ParseKeySet(jose.MarshalKeySet([]json.RawMessage{w.key.PublicJWK()}))
	if err != nil {
		panic(err)
	}
	return keys.Published{Keys: set}
}

func (w *world) TokenLives(_ context.Context, _ agentid.Organization, f Facts) (bool, error) {
	w.asked = f
	return w.lives, w.err
}

func (w *world) Revoked(_ context.Context, facts ...trust.Facts) (string, error) {
	index := trust.Index(&w.list)
	for _, f := range facts {
		if what := index.Check(&f); what != "" {
			return what, nil
		}
	}
	return "", nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{key: key, at: time.Unix(1_800_000_000, 0), lives: true}
	w.issuer = issuers.Issuer{ID: "https://id.example.com", Keys: w}
	return w
}

func (w *world) judge() *Judge { return New(w, w, func() time.Time { return w.at }) }

var (
	org        = agentid.New[agentid.Organization]()
	agent      = agentid.New[agentid.Agent]()
	actor      = agentid.New[agentid.Agent]()
	credential = agentid.New[agentid.Credential]()
	acted      = agentid.New[agentid.Credential]()
)

// token signs good claims with changes; a nil change takes a claim away.
func (w *world) token(t *testing.T, typ string, changes map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": w.issuer.ID, "sub": agent.String(), "aud": "svc://a", "iat": w.at.Unix(), "nbf": w.at.Unix(), "exp": w.at.Unix() + 300, "jti": "id",
		"client_id": agent.String(), "org_id": org.String(), "credential_id": credential.String(), "scope": "a b",
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text, err := w.key.Sign(typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got, err := w.judge().Check(t.Context(), w.issuer, w.token(t, "at+jwt", nil))
	if err != nil {
		t.Fatal(err)
	}
	if got.Organization != org || got.ClientID != agent.String() || got.Scope() != "a b" || got.Carrier() != agent {
		t.Errorf("%+v", got)
	}
	if w.asked.TokenID != "id" || w.asked.IssuedAt.Unix() != w.at.Unix() || !slices.Equal(w.asked.Holders, []Holder{{agent, credential}}) {
		t.Errorf("asked %+v", w.asked)
	}
}

// A token that is not exactly one of ours, of now, is worth nothing, and nobody is asked about it.
func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.err = errors.New("asked")
	link := func(n int) any {
		var act any
		for range n {
			act = map[string]any{"sub": actor.String(), "act": act}
			if m, ok := act.(map[string]any); ok && m["act"] == nil {
				delete(m, "act")
			}
		}
		return act
	}
	for name, tt := range map[string]struct {
		typ     string
		changes map[string]any
	}{
		"an ID token":             {"JWT", nil},
		"no typ of ours":          {"dpop+jwt", nil},
		"another issuer's":        {"at+jwt", map[string]any{"iss": "https://id.example.com/o/acme"}},
		"expired":                 {"at+jwt", map[string]any{"iat": w.at.Unix() - 300, "nbf": w.at.Unix() - 300, "exp": w.at.Unix()}},
		"of the future":           {"at+jwt", map[string]any{"iat": w.at.Unix() + 2}},
		"too long":                {"at+jwt", map[string]any{"exp": w.at.Unix() + 901}},
		"no organization":         {"at+jwt", map[string]any{"org_id": nil}},
		"no organization's id":    {"at+jwt", map[string]any{"org_id": agent.String()}},
		"an actor that is none":   {"at+jwt", map[string]any{"act": "x"}},
		"an actor in an actor":    {"at+jwt", map[string]any{"act": map[string]any{"sub": actor.String(), "act": 1}}},
		"an endless chain":        {"at+jwt", map[string]any{"act": link(tokens.ActorsMax + 1)}},
		"no expiry":               {"at+jwt", map[string]any{"exp": nil}},
		"an audience of no words": {"at+jwt", map[string]any{"aud": []string{}}},
	} {
		if got, err := w.judge().Check(t.Context(), w.issuer, w.token(t, tt.typ, tt.changes)); !errors.Is(err, ErrInactive) || got != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	stranger := newWorld(t)
	for name, text := range map[string]string{"another key": stranger.token(t, "at+jwt", nil), "nothing": "", "no token": "a.b.c"} {
		if _, err := w.judge().Check(t.Context(), w.issuer, text); !errors.Is(err, ErrInactive) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ofOther := issuers.Issuer{ID: w.issuer.ID, Keys: w, Organization: agentid.New[agentid.Organization]()}
	if _, err := w.judge().Check(t.Context(), ofOther, w.token(t, "at+jwt", nil)); !errors.Is(err, ErrInactive) {
		t.Errorf("an organization the issuer does not know: %v", err)
	}
	if _, err := w.judge().Check(t.Context(), w.issuer, w.token(t, "at+jwt", nil)); errors.Is(err, ErrInactive) || !errors.Is(err, w.err) {
		t.Errorf("a store that fails: %v", err)
	}
}

// Whom a token dies with, and whose watermark stands for it.
func TestHolders(t *testing.T) {
	t.Parallel()
	party := agentid.New[agentid.Client]().String()
	act := map[string]any{"sub": actor.String(), "org_id": org.String(), "credential_id": acted.String()}
	elsewhere := map[string]any{"sub": actor.String(), "iss": "https://elsewhere.example"}
	for name, tt := range map[string]struct {
		changes map[string]any
		holders []Holder
		carrier agentid.Agent
	}{
		"itself":           {nil, []Holder{{agent, credential}}, agent},
		"delegated":        {map[string]any{"act": act, "client_id": actor.String()}, []Holder{{agent, credential}, {actor, acted}}, actor},
		"a relying party":  {map[string]any{"client_id": party}, []Holder{{agent, credential}}, agent},
		"acted elsewhere":  {map[string]any{"act": elsewhere, "client_id": actor.String()}, []Holder{{agent, credential}}, agent},
		"a foreign person": {map[string]any{"sub": "somebody", "act": act, "client_id": actor.String()}, []Holder{{actor, acted}}, actor},
		"nobody of ours":   {map[string]any{"sub": "somebody", "client_id": "x"}, nil, agentid.Agent{}},
	} {
		w := newWorld(t)
		got, err := w.judge().Check(t.Context(), w.issuer, w.token(t, "at+jwt", tt.changes))
		if err != nil || !slices.Equal(got.Holders, tt.holders) || got.Carrier() != tt.carrier {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// Either is enough: what the database says now, and what sidecars are told about the token or any of its actors.
func TestAlive(t *testing.T) {
	t.Parallel()
	act := map[string]any{"sub": actor.String(), "credential_id": acted.String(), "iss": "https://elsewhere.example"}
	for name, change := range map[string]func(*world){
		"the store":            func(w *world) { w.lives = false },
		"its id":               func(w *world) { w.list.Tokens = []trust.Token{{ID: "id", ExpiresAt: 1}} },
		"its agent":            func(w *world) { w.list.Agents = []trust.Agent{{ID: agent.String()}} },
		"a watermark":          func(w *world) { w.list.Agents = []trust.Agent{{ID: agent.String(), IssuedBefore: w.at.Unix() + 1}} },
		"its organization":     func(w *world) { w.list.Organizations = []trust.Organization{{ID: org.String()}} },
		"its credential":       func(w *world) { w.list.Credentials = []trust.Credential{{ID: credential.String()}} },
		"its key":              func(w *world) { w.list.Keys = []trust.Key{{ID: w.key.ID()}} },
		"its issuer":           func(w *world) { w.list.Issuers = []trust.Issuer{{ID: w.issuer.ID}} },
		"its actor":            func(w *world) { w.list.Agents = []trust.Agent{{ID: actor.String()}} },
		"its actor's secret":   func(w *world) { w.list.Credentials = []trust.Credential{{ID: acted.String()}} },
		"its actor's issuer":   func(w *world) { w.list.Issuers = []trust.Issuer{{ID: "https://elsewhere.example"}} },
		"nothing (a watch)":    nil,
		"an older watermark":   func(w *world) { w.list.Agents = []trust.Agent{{ID: agent.String(), IssuedBefore: w.at.Unix()}} },
		"another organization": func(w *world) { w.list.Organizations = []trust.Organization{{ID: "org_x"}} },
	} {
		w := newWorld(t)
		alive := change == nil || name == "an older watermark" || name == "another organization"
		if change != nil {
			change(w)
		}
		_, err := w.judge().Check(t.Context(), w.issuer, w.token(t, "at+jwt", map[string]any{"act": act}))
		if (err == nil) != alive || err != nil && !errors.Is(err, ErrInactive) {
			t.Errorf("%s: %v, want alive %v", name, err, alive)
		}
	}
}
