package issuer_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/issuer/api"
	"github.com/agentidp/agentidp/issuer/internal/adminapi"
)

type contract struct {
	doc    *openapi3.T
	router routers.Router
}

// loadContract validates the document with all its examples.
var loadContract = sync.OnceValues(func() (*contract, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(api.Contract)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(loader.Context, openapi3.EnableExamplesValidation()); err != nil {
		return nil, err
	}
	doc.Servers = nil // the tests' server has another port
	router, err := legacy.NewRouter(doc)
	if err != nil {
		return nil, err
	}
	return &contract{doc, router}, nil
})

func theContract(t *testing.T) *contract {
	t.Helper()
	c, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// checkAgainstContract fails the test when an answer has a status, a header or a body the contract does not know. Requests to paths or methods that are not
// in the contract are 404 and 405 by its introduction.
func checkAgainstContract(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	route, params, err := theContract(t).router.FindRoute(&http.Request{Method: r.Method, URL: &url.URL{Path: r.URL.Path}})
	if err != nil || strings.HasSuffix(r.URL.Path, "/") { // the router forgives a trailing slash, we do not
		if a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s %s is not in the contract and answered %s", r.Method, r.URL.Path, a.Status)
		}
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 a.StatusCode, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	if err := openapi3filter.ValidateResponse(t.Context(), input); err != nil {
		t.Errorf("%s %s: the answer is not what the contract says: %v", r.Method, r.URL.Path, err)
	}
}

// operation is one operation of the contract.
type operation struct {
	id, method, path string
	*openapi3.Operation
}

func operations(t *testing.T) []operation {
	t.Helper()
	var all []operation
	for path, item := range theContract(t).doc.Paths.Map() {
		for method, op := range item.Operations() {
			all = append(all, operation{op.OperationID, method, path, op})
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].id < all[j].id })
	if len(all) < 20 {
		t.Fatalf("found only %d operations", len(all))
	}
	return all
}

func (o operation) protected() bool {
	if o.Security == nil {
		return false
	}
	for _, requirement := range *o.Security {
		if _, ok := requirement["bootstrapToken"]; ok {
			return true
		}
	}
	return false
}

// nowhere has every operation and serves none: only its route table is looked at.
type nowhere struct{ adminapi.ServerInterface }

// Every route served is in the contract and the other way round, with the same protection.
func TestRoutesAreTheContract(t *testing.T) {
	t.Parallel()
	type route struct {
		Method, Path string
		Protected    bool
	}
	inContract, served := map[string]route{}, map[string]route{}
	for _, o := range operations(t) {
		inContract[o.id] = route{o.method, o.path, o.protected()}
	}
	for _, r := range adminapi.Routes(nowhere{}) {
		served[r.Name] = route{r.Method, r.Path, r.Protected}
	}
	if d := cmp.Diff(inContract, served); d != "" {
		t.Errorf("contract and routes differ (-contract +served):\n%s", d)
	}
}

// Every operation says what it does, what it needs, and how it can fail.
func TestContractIsComplete(t *testing.T) {
	t.Parallel()
	for _, o := range operations(t) {
		if o.Summary == "" || len(o.Tags) != 1 {
			t.Errorf("%s has no summary or not exactly one tag", o.id)
		}
		want := []string{"500", "503"}
		if o.protected() {
			want = append(want, "400", "401")
		}
		if strings.Contains(o.path, "{") {
			want = append(want, "404")
		}
		if o.method != http.MethodGet && o.protected() {
			want = append(want, "413", "415")
		}
		for _, status := range want {
			if o.Responses.Value(status) == nil {
				t.Errorf("%s does not say what %s means", o.id, status)
			}
		}
		for status, response := range o.Responses.Map() {
			for media, content := range response.Value.Content {
				if content.Example == nil {
					t.Errorf("%s %s has no example of %s", o.id, status, media)
				}
			}
		}
		if o.RequestBody != nil {
			for media, content := range o.RequestBody.Value.Content {
				if content.Example == nil {
					t.Errorf("%s: the %s request has no example", o.id, media)
				}
			}
		}
	}
}

var parameter = regexp.MustCompile(`\{(\w+)\}`)

// withIDs puts well-formed ids that name nothing into a path of the contract.
func withIDs(path string) string {
	return parameter.ReplaceAllStringFunc(path, func(name string) string {
		if name == "{slug}" {
			return "acme"
		}
		prefix := map[string]string{"{organizationId}": "org_", "{agentId}": "agt_", "{credentialId}": "crd_", "{clientId}": "cli_", "{initialAccessTokenId}": "iat_"}[name]
		return prefix + "0199f6c2a1b47d3e8c5f0a1b2c3d4e5f"
	})
}

// Every protected operation refuses, with one and the same answer, whoever does not hold the admin token. Bad bodies and ids are not looked at before.
func TestProtectedOperationsRefuseStrangers(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	agentToken := i.token(agent, secret)
	headers := map[string][]string{
		"nothing":           nil,
		"wrong token":       {"Bearer " + strings.Repeat("x", len(adminToken))},
		"a prefix":          {"Bearer " + adminToken[:len(adminToken)-1]},
		"one byte more":     {"Bearer " + adminToken + "x"},
		"two spaces":        {"Bearer  " + adminToken},
		"empty":             {""},
		"only the scheme":   {"Bearer"},
		"an agent's token":  {"Bearer " + agentToken},
		"as basic":          {"Basic " + adminToken},
		"twice":             {"Bearer " + adminToken, "Bearer " + adminToken},
		"comma-joined":      {"Bearer " + adminToken + ", Bearer " + adminToken},
		"8 KiB":             {"Bearer " + strings.Repeat("x", 8<<10)},
		"another character": {"Bearer " + adminToken[:len(adminToken)-1] + "\u00e9"},
	}
	tried := 0
	for _, o := range operations(t) {
		if !o.protected() {
			continue
		}
		tried++
		var first string
		for name, values := range headers {
			r := i.request(o.method, withIDs(o.path), "text/plain", "{")
			r.Header["Authorization"] = values
			a := i.do(r)
			got := a.Status + a.Header.Get("WWW-Authenticate") + string(withoutRequestID(t, a.body))
			if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: %s %s", o.id, name, a.Status, a.body)
			}
			if first == "" {
				first = got
			}
			if got != first {
				t.Errorf("%s with %s: another answer than the others:\n%s\n%s", o.id, name, got, first)
			}
		}
	}
	if tried < 15 {
		t.Errorf("only %d protected operations", tried)
	}
}

func withoutRequestID(t *testing.T, body []byte) []byte {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		t.Fatal(err)
	}
	delete(members, "requestId")
	out, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
