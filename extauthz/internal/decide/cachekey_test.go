package decide

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/policy"
)

// chooser makes up tests: rapid, or a seed.
type chooser interface{ choose(n int) int }

type byRapid struct{ *rapid.T }

func (r byRapid) choose(n int) int { return rapid.IntRange(0, n-1).Draw(r.T, "") }

type bySeed struct{ *rand.Rand }

func (r bySeed) choose(n int) int { return r.IntN(n) }

func pick[T any](c chooser, from []T) T { return from[c.choose(len(from))] }

// texts are few, so that requests often agree, and such that they collide wherever lengths are not part of a key.
var texts = []string{"", "a", "b", "aa", "a,b", "a\x00b", "\x01a", "\x02aa"}

var noon = time.Unix(1790000000, 0)

// exactPaths are parts of the input that have a part of a key of their own.
var exactPaths = []string{
	"attributes.request.http.method", "attributes.request.http.path", "attributes.request.http.host", "attributes.request.http.scheme",
	"attributes.request.http.protocol", "attributes.request.http.size", "attributes.request.http.headers.x-a", "attributes.request.http.headers.x-b",
	"attributes.request.http.headers.authorization", "attributes.contextExtensions", "attributes.contextExtensions.service",
	"attributes.source", "attributes.source.address", "attributes.source.principal", "attributes.source.certificate", "attributes.source.service",
	"attributes.source.labels", "attributes.source.labels.app", "attributes.destination", "attributes.destination.address",
	"attributes.destination.principal", "attributes.destination.certificate", "attributes.destination.service", "attributes.destination.labels",
	"attributes.destination.labels.app", "attributes.metadataContext", "attributes.metadataContext.filterMetadata",
	"attributes.metadataContext.filterMetadata.f", "attributes.metadataContext.filterMetadata.f.k", "attributes.metadataContext.filterMetadata.f.k.l",
	"attributes.routeMetadataContext", "attributes.routeMetadataContext.filterMetadata.f.k", "attributes.tlsSession",
	"parsed_host", "parsed_path", "source_principal", "version",
	"identity", "identity.subject", "identity.organizationId", "identity.issuer", "identity.origin", "identity.clientId", "identity.scopes",
	"identity.agent", "identity.agent.name", "identity.actors", "identity.confirmation", "identity.tokenId", "identity.issuedAt",
	"identity.expiresAt", "identity.claims", "identity.claims.plan", "identity.claims.plan.a", "identity.claims.plan.a.b",
}

// roundedPaths go deeper than their part.
var roundedPaths = []string{
	"attributes.request.http.method.a", "attributes.source.address.socketAddress.address", "attributes.source.address.pipe", "attributes.tlsSession.sni",
	"attributes.destination.address.socketAddress.portValue", "attributes.contextExtensions.service.a", "attributes.source.labels.app.a",
	"parsed_host.a", "parsed_path.a", "parsed_query", "parsed_query.a", "parsed_query.a.b", "identity.agent.name.x", "attributes.request.http.headers.x-a.b", "version.ext_authz",
}

// offPaths keep decisions from being remembered.
var offPaths = []string{
	"", "attributes", "attributes.request", "attributes.request.time", "attributes.request.time.seconds", "attributes.request.http",
	"attributes.request.http.id", "attributes.request.http.headers", "attributes.request.http.headers.x-request-id",
	"attributes.request.http.headers.traceparent", "attributes.request.http.headers.dpop", "attributes.request.http.body",
	"attributes.request.http.rawBody", "parsed_body", "parsed_body.a", "truncated_body", "nothing", "attributes.nothing",
	"attributes.request.nothing", "attributes.request.http.nothing", "attributes.source.nothing", "attributes.metadataContext.nothing",
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' })
}

func someMap(c chooser) map[string]string {
	return pick(c, []map[string]string{
		nil, {}, {"service": "a"}, {"service": ""}, {"app": "a"}, {"app": "", "service": "a"}, {"a": "b"}, {"aa": "b"}, {"a": "ab"}, {"a": "b", "b": "a"}, {"ab": "ba"},
	})
}

func someMetadata(c chooser) map[string]any {
	return pick(c, []map[string]any{
		nil,
		{},
		{"f": map[string]any{}},
		{"f": map[string]any{"k": "a"}},
		{"f": map[string]any{"k": nil}},
		{"f": map[string]any{"k": map[string]any{}}},
		{"f": map[string]any{"k": map[string]any{"l": json.Number("1")}}},
		{"f": map[string]any{"k": map[string]any{"l": "1"}}},
		{"f": "a"},
		{"f": map[string]any{"k": []any{"a", "b"}}},
		{"f": map[string]any{"k": []any{"ab"}}},
		{"g": map[string]any{"k": true}},
		{"f": map[string]any{"k": false, "a": "b"}},
	})
}

func somePeer(c chooser) checkreq.Peer {
	p := checkreq.Peer{Principal: pick(c, texts), Certificate: pick(c, texts), Service: pick(c, texts), Labels: someMap(c)}
	if c.choose(2) == 0 { // one kind of address, as Envoy has it
		p.Pipe = pick(c, texts)
	} else {
		p.IP, p.Port = pick(c, texts), uint32(c.choose(3))
	}
	return p
}

func someHeaders(c chooser) checkreq.Headers {
	var all checkreq.Headers
	for _, name := range []string{"authorization", "x-a", "x-a", "x-b"} {
		if c.choose(2) == 1 {
			all = append(all, checkreq.Header{Name: name, Value: pick(c, append(texts, "Bearer a", "Bearer b", "Basic a"))})
		}
	}
	return all
}

// fields change one field of a request each.
var fields = map[string]func(chooser, *checkreq.Request){
	"ID":       func(c chooser, r *checkreq.Request) { r.ID = pick(c, texts) },
	"Method":   func(c chooser, r *checkreq.Request) { r.Method = pick(c, texts) },
	"Scheme":   func(c chooser, r *checkreq.Request) { r.Scheme = pick(c, texts) },
	"Host":     func(c chooser, r *checkreq.Request) { r.Host = pick(c, texts) },
	"HostName": func(c chooser, r *checkreq.Request) { r.HostName = pick(c, texts) },
	"Protocol": func(c chooser, r *checkreq.Request) { r.Protocol = pick(c, texts) },
	"Target":   func(c chooser, r *checkreq.Request) { target(r, pick(c, texts), r.Query) },
	"Segments": func(c chooser, r *checkreq.Request) {
		r.Segments = pick(c, [][]string{{""}, {"a"}, {"a", ""}, {"a", "b"}, {"ab"}, {"a,b"}, nil})
	},
	"Headers":       func(c chooser, r *checkreq.Request) { r.Headers = someHeaders(c) },
	"Size":          func(c chooser, r *checkreq.Request) { r.Size = int64(c.choose(3)) - 1 },
	"Time":          func(c chooser, r *checkreq.Request) { r.Time = noon.Add(time.Duration(c.choose(3))) },
	"Source":        func(c chooser, r *checkreq.Request) { r.Source = somePeer(c) },
	"Destination":   func(c chooser, r *checkreq.Request) { r.Destination = somePeer(c) },
	"Extensions":    func(c chooser, r *checkreq.Request) { r.Extensions = someMap(c) },
	"Metadata":      func(c chooser, r *checkreq.Request) { r.Metadata = someMetadata(c) },
	"RouteMetadata": func(c chooser, r *checkreq.Request) { r.RouteMetadata = someMetadata(c) },
	"SNI":           func(c chooser, r *checkreq.Request) { r.SNI = pick(c, texts) },
	"Query": func(c chooser, r *checkreq.Request) {
		target(r, r.Path, pick(c, []string{"", "a=b", "a=", "a=a&a=b", "a=ab", "b=a", "a=b&b=a", "b=a&a=b"}))
	},
	"Body": func(c chooser, r *checkreq.Request) { r.Body = []byte(pick(c, texts)) },
}

func target(r *checkreq.Request, path, query string) {
	r.Path, r.Query, r.Target = path, query, path
	if query != "" {
		r.Target += "?" + query
	}
}

// notKeyed are fields that no input is made of, or only what is never part of a key, or that are made of others.
var notKeyed = []string{"Path", "Strip", "Raw", "Partial"}

// A field that somebody adds to a request may show in the input: then it must be a part of keys, or an obstacle.
func TestEveryFieldOfARequestIsKnown(t *testing.T) {
	t.Parallel()
	request := reflect.TypeFor[checkreq.Request]()
	for i := range request.NumField() {
		name := request.Field(i).Name
		if fields[name] == nil && !slices.Contains(notKeyed, name) && request.Field(i).IsExported() {
			t.Errorf("checkreq.Request.%s: make it a part of cache keys (cacheparts.go), or name it here", name)
		}
	}
	if n := reflect.TypeFor[checkreq.Peer]().NumField(); n != 7 {
		t.Errorf("checkreq.Peer has %d fields, cachekey.go knows 7", n)
	}
}

func someRequest(c chooser) *checkreq.Request {
	r := &checkreq.Request{}
	for _, name := range slices.Sorted(mapsKeys(fields)) {
		if c.choose(3) > 0 {
			fields[name](c, r)
		}
	}
	return r
}

func mapsKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range m {
			if !yield(name) {
				return
			}
		}
	}
}

func changed(c chooser, r *checkreq.Request) *checkreq.Request {
	next := *r
	fields[pick(c, slices.Sorted(mapsKeys(fields)))](c, &next)
	return &next
}

// identities are verified ones, for their documents are made by nobody else; nil is among them.
var identities = sync.OnceValue(func() []*identity.Identity {
	key, err := jose.GenerateSigningKey(jose.ES256)
	must(err)
	keys, _, err := jose.ParseKeySet(jose.MarshalKeySet([]json.RawMessage{key.PublicJWK()}))
	must(err)
	verifier, err := identity.NewVerifier(0, nil)
	must(err)
	defer verifier.Close()
	snapshot := &state.Snapshot{Issuers: map[string]*state.Issuer{"https://issuer.example": {Keys: keys, Rules: jose.Rules{
		Issuer: "https://issuer.example", Audiences: []string{"svc"}, Types: []string{"at+jwt"}, Algorithms: []jose.Algorithm{jose.ES256},
		LifetimeMax: time.Hour, Skew: time.Minute,
	}}}}
	all := []*identity.Identity{nil}
	for i, changes := range []map[string]any{
		{},
		{"jti": "t2"},
		{"sub": "agt_2"},
		{"org_id": "org_b"},
		{"scope": "a b"},
		{"scope": "a"},
		{"scope": "ab"},
		{"client_id": "a"},
		{"agent": map[string]any{"name": "a"}},
		{"agent": map[string]any{"name": ""}},
		{"agent": map[string]any{"type": "a"}},
		{"agent": map[string]any{}},
		{"act": map[string]any{"sub": "agt_3"}},
		{"act": map[string]any{"sub": "agt_3", "act": map[string]any{"sub": "agt_4"}}},
		{"plan": "a"},
		{"plan": ""},
		{"plan": nil},
		{"plan": 1},
		{"plan": "1"},
		{"plan": true},
		{"plan": false},
		{"plan": map[string]any{}},
		{"plan": []any{}},
		{"plan": []any{"a", "b"}},
		{"plan": []any{"ab"}},
		{"plan": map[string]any{"a": "b"}},
		{"plan": map[string]any{"a": map[string]any{"b": 1}}},
		{"plan": map[string]any{"a": map[string]any{}}},
		{"plan": map[string]any{"a": nil, "b": 1}},
		{"exp": noon.Unix() + 400},
		{"iat": noon.Unix() - 10},
	} {
		claims := map[string]any{
			"iss": "https://issuer.example", "sub": "agt_1", "aud": "svc", "org_id": "org_a", "iat": noon.Unix(), "exp": noon.Unix() + 300, "jti": "t1",
		}
		for name, v := range changes {
			claims[name] = v
		}
		document, err := json.Marshal(claims)
		must(err)
		token, err := key.Sign("at+jwt", document)
		must(err)
		who, _, refusal := verifier.Identify(snapshot, "", token, noon)
		if refusal != nil {
			panic(fmt.Sprint(i, refusal))
		}
		all = append(all, who)
	}
	return all
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func someSubject(c chooser) Subject {
	return Subject{Request: someRequest(c), Identity: pick(c, identities()), Now: noon}
}

func partsOf(t testing.TB, paths []string) []part {
	t.Helper()
	var parts []part
	for _, path := range paths {
		p, why := partOf(split(path))
		if why != "" {
			t.Fatalf("input.%s is an obstacle: %s", path, why)
		}
		if p.kind != 0 {
			parts = append(parts, p)
		}
	}
	return parts
}

func keyOf(b *binding, s Subject) []byte {
	var k key
	k.fill(b, &s)
	return k.bytes
}

// Two requests have one key exactly when the whole input agrees in each path, whatever delimiters are in its texts.
// The key is made without the input; here the input is made to hold the key against.
func TestKeysTellApartWhatPoliciesCan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := byRapid{rt}
		exact := c.choose(3) > 0
		from := exactPaths
		if !exact {
			from = slices.Concat(exactPaths, roundedPaths)
		}
		var paths []string
		for range 1 + c.choose(4) {
			paths = append(paths, pick(c, from))
		}
		b := &binding{number: 1, parts: partsOf(t, paths)}
		one := someSubject(c)
		one.ShowAuth = c.choose(2) == 0
		other := one
		for range 1 + c.choose(2) {
			other.Request = changed(c, other.Request)
		}
		if c.choose(2) == 0 {
			other.Identity = pick(c, identities())
		}
		same := true
		for _, path := range paths {
			selector := policy.NewSelector(split(path)...)
			same = same && bytes.Equal(selector.AppendKey(nil, packed(rt, one)), selector.AppendKey(nil, packed(rt, other)))
		}
		if got := bytes.Equal(keyOf(b, one), keyOf(b, other)); got && !same || exact && got != same {
			rt.Fatalf("%q: one key: %v, one input: %v\n%v\n%v", paths, got, same, whole(rt, one), whole(rt, other))
		}
	})
}

// packed is whole, as keys are made of.
func packed(t interface{ Fatal(...any) }, s Subject) policy.Packed {
	tree, err := policy.ToAny(whole(t, s))
	if err != nil {
		t.Fatal(err)
	}
	var p policy.Packer
	p.Any(tree)
	text, err := p.Packed()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// whole is the input with all its members.
func whole(t interface{ Fatal(...any) }, s Subject) policy.Value {
	s.only = nil
	input, refusal, err := Input(s)
	if refusal != nil || err != nil {
		t.Fatal(refusal, err)
	}
	return input
}

// What is not in the input but shapes the answer, or what it rests on, is in every key.
func TestKeysHoldTheirCircumstances(t *testing.T) {
	t.Parallel()
	s := Subject{Request: &checkreq.Request{}, Issuer: &state.Issuer{Epoch: 1}}
	base := keyOf(&binding{number: 1}, s)
	for name, other := range map[string][]byte{
		"another policy": keyOf(&binding{number: 2}, s),
		"another epoch":  keyOf(&binding{number: 1}, Subject{Request: s.Request, Issuer: &state.Issuer{Epoch: 2}}),
		"no issuer":      keyOf(&binding{number: 1}, Subject{Request: s.Request}),
		"tokens shown":   keyOf(&binding{number: 1}, Subject{Request: s.Request, Issuer: s.Issuer, ShowAuth: true}),
	} {
		if bytes.Equal(base, other) {
			t.Errorf("%s: the same key", name)
		}
	}
}

// Each member the input can have is a part of keys or an obstacle; what the input gains later is an obstacle until
// somebody decides.
func TestEveryMemberOfTheInputIsJudged(t *testing.T) {
	t.Parallel()
	for _, path := range offPaths {
		if p, why := partOf(split(path)); why == "" {
			t.Errorf("input.%s is a part: %+v", path, p)
		}
	}
	partsOf(t, slices.Concat(exactPaths, roundedPaths))
	var visit func(path []string, v any)
	visit = func(path []string, v any) {
		if p, why := partOf(path); why == whyUnknown || why == "" && p.kind == 0 && path[0] != "version" {
			t.Errorf("input.%s is not judged: %q", strings.Join(path, "."), why)
		}
		object, _ := v.(map[string]any)
		for name, member := range object {
			visit(append(slices.Clip(path), name), member)
		}
	}
	r := &checkreq.Request{
		ID: "a", Method: "a", Scheme: "a", Host: "a", Protocol: "a", Path: "a", Target: "a?a=b", Segments: []string{"a"}, Query: "a=b",
		Headers: checkreq.Headers{{Name: "x-a", Value: "a"}}, Size: 1, Body: []byte("a"), Time: noon, SNI: "a", Extensions: map[string]string{"a": "b"},
		Metadata: map[string]any{"f": "a"}, RouteMetadata: map[string]any{"f": "a"},
		Source:      checkreq.Peer{Principal: "a", Certificate: "a", Service: "a", Labels: map[string]string{"a": "b"}, IP: "a", Port: 1},
		Destination: checkreq.Peer{Pipe: "a"},
	}
	visit(nil, tree(t, whole(t, Subject{Request: r, Identity: identities()[1]}).String()))
	r.Raw = true
	visit(nil, tree(t, whole(t, Subject{Request: r}).String()))
}
