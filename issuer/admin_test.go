package issuer_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const unknownOrganization, unknownCredential = "org_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", "crd_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f"

func TestOrganizationLife(t *testing.T) {
	t.Parallel()
	i := start(t)
	created := i.must(i.admin("POST", "/organizations", `{"slug":"acme","displayName":"Acme Ltd."}`), 201)
	path := "/organizations/" + created.field("id")
	if created.Header.Get("Location") != path || created.Header.Get("ETag") != `"1"` {
		t.Errorf("headers %v", created.Header)
	}
	if read := i.must(i.admin("GET", path, nil), 200); string(read.body) != string(created.body) || read.Header.Get("ETag") != `"1"` {
		t.Errorf("created %s, read %s", created.body, read.body)
	}
	i.refused(i.admin("POST", "/organizations", `{"slug":"acme","displayName":"Another"}`), 409, "slug_taken", "/slug")

	changed := i.must(i.admin("PATCH", path, `{"displayName":"Acme Holding"}`, "If-Match", `"1"`), 200)
	if changed.field("displayName") != "Acme Holding" || changed.field("slug") != "acme" || changed.Header.Get("ETag") != `"2"` {
		t.Errorf("changed: %s %v", changed.body, changed.Header)
	}
	i.refused(i.admin("PATCH", path, `{"displayName":"Late"}`, "If-Match", `"1"`), 412, "version_differs", "")
	i.refused(i.admin("DELETE", path, nil, "If-Match", `"1"`), 412, "version_differs", "")
	i.must(i.admin("PATCH", path, `{"displayName":"Whatever"}`, "If-Match", "*"), 200)
	i.must(i.admin("PATCH", path, nil), 200) // an empty body is {} and changes nothing

	agent := i.agent(created.field("id"), "a")
	i.refused(i.admin("DELETE", path, nil), 409, "organization_has_agents", "")
	i.must(i.admin("DELETE", "/agents/"+agent, nil), 204)
	party := i.must(i.admin("POST", "/clients", map[string]any{"organizationId": created.field("id"), "name": "p", "authentication": "none", "redirectUris": []string{"https://a.example/cb"}}), 201)
	i.refused(i.admin("DELETE", path, nil), 409, "organization_has_clients", "")
	var made struct{ Client struct{ ID string } }
	party.json(t, &made)
	i.must(i.admin("DELETE", "/clients/"+made.Client.ID, nil), 204)
	i.must(i.admin("DELETE", path, nil), 204)
	i.refused(i.admin("GET", path, nil), 404, "organization_not_found", "")
	i.refused(i.admin("DELETE", path, nil), 404, "organization_not_found", "")
	i.refused(i.admin("GET", "/agents?organizationId="+created.field("id"), nil), 404, "organization_not_found", "")

	want := []string{"organization.delete", "client.delete", "client.create", "agent.delete", "agent.create", "organization.update", "organization.update", "organization.create"}
	if got := i.actions(created.field("id"), ""); !slices.Equal(slices.Compact(got), slices.Compact(want)) {
		t.Errorf("the log of a deleted organization: %v, want %v", got, want)
	}
}

// actions is the whole audit log of an organization, newest first.
func (i *instance) actions(organization, filter string) []string {
	i.t.Helper()
	var log struct {
		Records []struct {
			Action, OrganizationID string
			Actor                  map[string]string
		}
	}
	i.must(i.admin("GET", "/audit?organizationId="+organization+filter, nil), 200).json(i.t, &log)
	var actions []string
	for _, r := range log.Records {
		if r.OrganizationID != organization {
			i.t.Errorf("a record of %s in the log of %s", r.OrganizationID, organization)
		}
		actions = append(actions, r.Action)
	}
	return actions
}

// refused checks a problem document: status, code and field.
func (i *instance) refused(a answer, status int, code, field string) {
	i.t.Helper()
	if a.StatusCode != status || a.field("code") != code || a.field("field") != field || a.Header.Get("Content-Type") != "application/problem+json" {
		i.t.Errorf("%s %s: %s %s, want %d %s %q", a.Request.Method, a.Request.URL, a.Status, a.body, status, code, field)
	}
	if a.field("requestId") != a.Header.Get("X-Request-Id") {
		i.t.Errorf("%s: another request id than in the header", a.body)
	}
}

func TestAgentLife(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	created := i.must(i.admin("POST", "/agents", map[string]any{"organizationId": organization, "name": "reader", "audiences": []string{"svc://payments"}}), 201)
	agent := created.field("id")
	path := "/agents/" + agent
	var body map[string]any
	created.json(t, &body)
	want := map[string]any{
		"id": agent, "organizationId": organization, "name": "reader", "type": "", "description": "", "status": "active", "version": 1.0,
		"capabilities": []any{}, "scopes": []any{}, "audiences": []any{"svc://payments"},
		"serves": []any{}, "dpopBoundAccessTokens": false, "tlsClientCertificateBoundAccessTokens": false, "createdAt": body["createdAt"], "updatedAt": body["createdAt"],
		"did": "did:web:" + strings.Replace(strings.TrimPrefix(i.url, "https://"), ":", "%3A", 1) + ":agents:" + agent,
	}
	if d := cmp.Diff(want, body); d != "" {
		t.Errorf("created (-want +got):\n%s", d)
	}
	if created.Header.Get("Location") != path || created.Header.Get("ETag") != `"1"` {
		t.Errorf("headers %v", created.Header)
	}
	if read := i.must(i.admin("GET", path, nil), 200); string(read.body) != string(created.body) {
		t.Errorf("created %s, read %s", created.body, read.body)
	}
	i.must(i.admin("PATCH", path, `{"scopes":["a","b"],"type":"bot","description":"d","capabilities":["c"],"audiences":["svc://b"],"name":"writer"}`, "If-Match", `"1"`), 200)
	i.refused(i.admin("PATCH", path, `{"name":"late"}`, "If-Match", `"1"`), 412, "version_differs", "")
	i.refused(i.admin("DELETE", path, nil, "If-Match", `"1"`), 412, "version_differs", "")
	i.agent(organization, "other")
	if a := i.admin("PATCH", path, `{"name":"other"}`); a.StatusCode != 409 {
		t.Errorf("a name that is taken: %s %s", a.Status, a.body)
	}

	suspended := i.must(i.admin("POST", path+"/suspend", nil), 200)
	if suspended.field("status") != "suspended" || suspended.field("tokensNotBefore") == "" {
		t.Errorf("suspended: %s", suspended.body)
	}
	i.must(i.admin("POST", path+"/suspend", `{}`), 200)
	if a := i.must(i.admin("POST", path+"/reactivate", nil), 200); a.field("status") != "active" || a.field("tokensNotBefore") == "" {
		t.Errorf("reactivated: %s", a.body)
	}
	if a := i.must(i.admin("POST", path+"/revoke", nil), 200); a.field("status") != "revoked" {
		t.Errorf("revoked: %s", a.body)
	}
	i.must(i.admin("POST", path+"/revoke", nil), 200)
	for _, refused := range []string{"/suspend", "/reactivate", "/credentials"} {
		i.refused(i.admin("POST", path+refused, nil), 409, "agent_revoked", "")
	}
	i.refused(i.admin("PATCH", path, `{"name":"x"}`), 409, "agent_revoked", "")
	i.must(i.admin("DELETE", path, nil), 204)
	i.refused(i.admin("GET", path, nil), 404, "agent_not_found", "")

	actions := i.actions(organization, "&target="+agent)
	for _, wanted := range []string{"agent.create", "agent.update", "agent.suspend", "agent.reactivate", "agent.revoke", "agent.delete"} {
		if !slices.Contains(actions, wanted) {
			t.Errorf("no %s in %v", wanted, actions)
		}
	}
}

func TestCredentialLife(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	path := "/agents/" + agent + "/credentials"
	created := i.must(i.admin("POST", path, `{"lifetimeSeconds":3600}`), 201)
	if created.Header.Get("Cache-Control") != "no-store" || created.field("clientId") != agent {
		t.Errorf("%v %s", created.Header, created.body)
	}
	var first struct {
		Credential   struct{ ID, ExpiresAt string }
		ClientSecret string
	}
	created.json(t, &first)
	i.secret(first.ClientSecret)
	expires, err := time.Parse(time.RFC3339Nano, first.Credential.ExpiresAt)
	if left := time.Until(expires); err != nil || left > time.Hour || left < 50*time.Minute {
		t.Errorf("expires in %s, %v", left, err)
	}
	i.token(agent, first.ClientSecret)

	var second struct {
		Credential   struct{ ID string }
		ClientSecret string
	}
	i.must(i.admin("POST", path+"/"+first.Credential.ID+"/rotate", nil), 201).json(t, &second)
	i.secret(second.ClientSecret)
	i.token(agent, first.ClientSecret) // the overlap
	i.token(agent, second.ClientSecret)
	a := i.admin("POST", path, nil)
	if a.StatusCode != 409 {
		t.Errorf("a third secret: %s %s", a.Status, a.body)
	}
	i.must(i.admin("DELETE", path+"/"+first.Credential.ID, nil), 204)
	grant := url.Values{"grant_type": {"client_credentials"}}
	i.must(i.tokenRequest(agent, first.ClientSecret, grant), 401)
	i.must(i.admin("POST", path+"/"+second.Credential.ID+"/rotate", `{"overlapSeconds":0}`), 201)
	i.must(i.tokenRequest(agent, second.ClientSecret, grant), 401)

	listed := i.must(i.admin("GET", path, nil), 200)
	if strings.Contains(string(listed.body), "aidp_") || !strings.Contains(string(listed.body), `"lastUsedAt"`) {
		t.Errorf("listed: %s", listed.body)
	}
	for _, body := range []string{`{"lifetimeSeconds":59}`, `{"lifetimeSeconds":0}`, `{"lifetimeSeconds":-1}`, `{"lifetimeSeconds":9223372036854775807}`} {
		i.refused(i.admin("POST", path, body), 400, "out_of_range", "/lifetimeSeconds")
	}
	rotate := path + "/" + second.Credential.ID + "/rotate"
	i.refused(i.admin("POST", rotate, `{"overlapSeconds":-1}`), 400, "out_of_range", "/overlapSeconds")
	i.refused(i.admin("POST", rotate, `{"overlapSeconds":2592001}`), 400, "out_of_range", "/overlapSeconds")
	i.refused(i.admin("POST", path+"/"+unknownCredential+"/rotate", nil), 404, "credential_not_found", "")
	i.refused(i.admin("DELETE", path+"/"+unknownCredential, nil), 404, "credential_not_found", "")

	other := i.agent(i.organization("other"), "a")
	otherCredential, _ := i.credential(other)
	i.refused(i.admin("DELETE", path+"/"+otherCredential, nil), 404, "credential_not_found", "")
	i.refused(i.admin("POST", path+"/"+otherCredential+"/rotate", nil), 404, "credential_not_found", "")
}

// What is not there and what is not yours to see is one answer.
func TestUnknownThingsAreNotFound(t *testing.T) {
	t.Parallel()
	i := start(t)
	for _, o := range operations(t) {
		switch {
		case strings.Contains(o.path, "{agentId}"):
			i.refused(i.admin(o.method, withIDs(o.path), nil), 404, "agent_not_found", "")
		case strings.Contains(o.path, "{organizationId}"):
			i.refused(i.admin(o.method, withIDs(o.path), nil), 404, "organization_not_found", "")
		}
	}
	agent := map[string]any{"organizationId": unknownOrganization, "name": "a", "audiences": []string{"svc://a"}}
	i.refused(i.admin("POST", "/agents", agent), 404, "organization_not_found", "")
	i.refused(i.admin("GET", "/agents?organizationId="+unknownOrganization, nil), 404, "organization_not_found", "")
	i.refused(i.admin("GET", "/audit?organizationId="+unknownOrganization, nil), 404, "organization_not_found", "")
}

// page is one page of any list.
type page struct {
	Organizations, Agents, Records []struct{ ID string }
	NextPageToken                  string
}

func (i *instance) walk(path string, size int) (ids []string, pages int) {
	i.t.Helper()
	token := ""
	for {
		var p page
		next := path + fmt.Sprintf("pageSize=%d", size)
		if token != "" {
			next += "&pageToken=" + token
		}
		i.must(i.admin("GET", next, nil), 200).json(i.t, &p)
		pages++
		things := slices.Concat(p.Organizations, p.Agents, p.Records)
		for _, thing := range things {
			ids = append(ids, thing.ID)
		}
		if len(things) > size || pages > 50 {
			i.t.Fatalf("%d things on page %d of size %d", len(things), pages, size)
		}
		if token = p.NextPageToken; token == "" {
			return ids, pages
		}
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	i := start(t)
	var organizations, agents []string
	for n := range 5 {
		organizations = append(organizations, i.organization(fmt.Sprintf("org-%d", n)))
	}
	for n := range 6 {
		agents = append(agents, i.agent(organizations[0], fmt.Sprintf("agent-%d", n)))
	}
	foreign := i.agent(organizations[1], "foreign")
	for size, wantPages := range map[int]int{1: 5, 2: 3, 5: 1, 200: 1} {
		if got, pages := i.walk("/organizations?", size); !slices.Equal(got, organizations) || pages != wantPages {
			t.Errorf("organizations by %d: %d pages, %v, want %v", size, pages, got, organizations)
		}
	}
	for size, wantPages := range map[int]int{2: 3, 3: 2, 4: 2, 6: 1} {
		if got, pages := i.walk("/agents?organizationId="+organizations[0]+"&", size); !slices.Equal(got, agents) || pages != wantPages {
			t.Errorf("agents by %d: %d pages, %v, want %v", size, pages, got, agents)
		}
	}
	all, _ := i.walk("/audit?organizationId="+organizations[0]+"&", 200)
	paged, _ := i.walk("/audit?organizationId="+organizations[0]+"&", 3)
	if len(all) != 7 || !slices.Equal(all, paged) {
		t.Errorf("audit: %v, in pages %v", all, paged)
	}
	if got := i.actions(organizations[0], "&action=agent.create&target="+agents[2]); len(got) != 1 {
		t.Errorf("filtered: %v", got)
	}
	if got := i.actions(organizations[0], "&target="+foreign); len(got) != 0 {
		t.Errorf("the log shows another organization: %v", got)
	}
	future := url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))
	if got := i.actions(organizations[0], "&since="+future); len(got) != 0 {
		t.Errorf("since the future: %v", got)
	}
	if got := i.actions(organizations[0], "&until="+future); len(got) != 7 {
		t.Errorf("until the future: %v", got)
	}
	own, _ := i.walk("/audit?action=signing_key.create&", 50)
	if len(own) != 4 { // one per use, and its successor
		t.Errorf("the instance's own log has %d keys", len(own))
	}
	i.strangeTokens(organizations)
}

// strangeTokens: a page token is good for its own list and query and nothing else.
func (i *instance) strangeTokens(organizations []string) {
	i.t.Helper()
	var p page
	i.must(i.admin("GET", "/agents?pageSize=1&organizationId="+organizations[0], nil), 200).json(i.t, &p)
	token := p.NextPageToken
	flipped := []byte(token)
	flipped[len(flipped)/2] ^= 1
	for _, query := range []string{
		"/agents?organizationId=" + organizations[1] + "&pageToken=" + token,
		"/organizations?pageToken=" + token,
		"/audit?organizationId=" + organizations[0] + "&pageToken=" + token,
		"/agents?organizationId=" + organizations[0] + "&pageToken=" + string(flipped),
		"/agents?organizationId=" + organizations[0] + "&pageToken=" + token[:len(token)-1],
		"/agents?organizationId=" + organizations[0] + "&pageToken=" + token + "=",
		"/agents?organizationId=" + organizations[0] + "&pageToken=" + strings.Repeat("A", 5000),
		"/agents?organizationId=" + organizations[0] + "&pageToken=",
		"/agents?organizationId=" + organizations[0] + "&pageToken=" + organizations[0],
	} {
		i.refused(i.admin("GET", query, nil), 400, "invalid_page_token", "pageToken")
	}
	i.must(i.admin("GET", "/agents?pageSize=3&organizationId="+organizations[0]+"&pageToken="+token, nil), 200)
}

// Requests that a lenient server would have guessed at.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent := i.agent(organization, "a")
	const orgs, json = "/organizations", "application/json"
	agentBody := func(more string) string {
		return `{"organizationId":"` + organization + `","name":"b","audiences":["svc://b"]` + more + `}`
	}
	tests := []struct {
		name, method, path, contentType, body string
		status                                int
		code, field                           string
	}{
		{"unknown field", "POST", orgs, json, `{"slug":"ab","displayName":"a","admin":true}`, 400, "unknown_field", "/admin"},
		{"unknown field with a strange name", "POST", orgs, json, `{"slug":"ab","displayName":"a","<b>":true}`, 400, "unknown_field", ""},
		{"field in another case", "POST", orgs, json, `{"slug":"ab","displayname":"a"}`, 400, "missing_field", "/displayName"},
		{"field twice in two cases", "POST", orgs, json, `{"slug":"ab","displayName":"a","displayname":"b"}`, 400, "unknown_field", "/displayname"},
		{"read-only field", "PATCH", "/agents/" + agent, json, `{"status":"active"}`, 400, "unknown_field", "/status"},
		{"id of another kind", "POST", "/agents", json, strings.Replace(agentBody(""), organization, agent, 1), 400, "invalid_id", "/organizationId"},
		{"duplicate member", "POST", orgs, json, `{"slug":"ab","displayName":"a","slug":"cd"}`, 400, "duplicate_member", ""},
		{"duplicate member, one escaped", "POST", orgs, json, `{"slug":"ab","displayName":"a","\u0073lug":"cd"}`, 400, "duplicate_member", ""},
		{"trailing bytes", "POST", orgs, json, `{"slug":"ab","displayName":"a"}{}`, 400, "malformed_json", ""},
		{"cut off", "POST", orgs, json, `{"slug":"ab","displayName":"a"`, 400, "malformed_json", ""},
		{"byte order mark", "POST", orgs, json, "\ufeff" + `{"slug":"ab","displayName":"a"}`, 400, "malformed_json", ""},
		{"not UTF-8", "POST", orgs, json, "{\"slug\":\"ab\",\"displayName\":\"\xff\"}", 400, "malformed_json", ""},
		{"too deep", "POST", orgs, json, strings.Repeat("[", 9) + strings.Repeat("]", 9), 400, "malformed_json", ""},
		{"a list", "POST", orgs, json, `[]`, 400, "wrong_type", ""},
		{"null", "POST", orgs, json, `null`, 400, "wrong_type", ""},
		{"null member", "PATCH", "/agents/" + agent, json, `{"name":null}`, 400, "wrong_type", "/name"},
		{"number for a string", "POST", orgs, json, `{"slug":1,"displayName":"a"}`, 400, "wrong_type", "/slug"},
		{"number in a list", "POST", "/agents", json, agentBody(`,"scopes":["a",2]`), 400, "wrong_type", "/scopes/1"},
		{"string for a list", "POST", "/agents", json, agentBody(`,"scopes":"a"`), 400, "wrong_type", "/scopes"},
		{"fraction", "POST", "/agents/" + agent + "/credentials", json, `{"lifetimeSeconds":60.0}`, 400, "wrong_type", "/lifetimeSeconds"},
		{"exponent", "POST", "/agents/" + agent + "/credentials", json, `{"lifetimeSeconds":6e1}`, 400, "wrong_type", "/lifetimeSeconds"},
		{"string for a number", "POST", "/agents/" + agent + "/credentials", json, `{"lifetimeSeconds":"60"}`, 400, "wrong_type", "/lifetimeSeconds"},
		{"missing field", "POST", orgs, json, `{"slug":"ab"}`, 400, "missing_field", "/displayName"},
		{"no body where one is needed", "POST", orgs, "", ``, 400, "missing_field", ""},
		{"a body where none is known", "POST", "/agents/" + agent + "/suspend", json, `{"reason":"x"}`, 400, "unknown_field", "/reason"},
		{"64 KiB and one byte", "POST", orgs, json, `{"slug":"ab","displayName":"` + strings.Repeat("a", 64<<10-29) + `"}`, 413, "too_large", ""},
		{"no content type", "POST", orgs, "", `{"slug":"ab","displayName":"a"}`, 415, "unsupported_media_type", ""},
		{"a form", "POST", orgs, "application/x-www-form-urlencoded", `slug=ab`, 415, "unsupported_media_type", ""},
		{"another charset", "POST", orgs, "application/json; charset=latin1", `{"slug":"ab","displayName":"a"}`, 415, "unsupported_media_type", ""},
		{"id of another kind in the path", "GET", "/organizations/" + agent, "", "", 400, "invalid_id", "organizationId"},
		{"id in upper case", "GET", "/agents/" + strings.ToUpper(agent), "", "", 400, "invalid_id", "agentId"},
		{"id with a NUL", "GET", "/agents/" + agent[:35] + "%00", "", "", 400, "invalid_id", "agentId"},
		{"bad credential id", "DELETE", "/agents/" + agent + "/credentials/x", "", "", 400, "invalid_id", "credentialId"},
		{"unknown parameter", "GET", "/organizations?pagesize=1", "", "", 400, "unknown_parameter", "pagesize"},
		{"unknown parameter where there are none", "GET", "/agents/" + agent + "?x=1", "", "", 400, "unknown_parameter", "x"},
		{"parameter twice", "GET", "/organizations?pageSize=1&pageSize=2", "", "", 400, "duplicate_parameter", "pageSize"},
		{"missing parameter", "GET", "/agents", "", "", 400, "missing_parameter", "organizationId"},
		{"bad id parameter", "GET", "/agents?organizationId=acme", "", "", 400, "invalid_id", "organizationId"},
		{"page size 0", "GET", "/organizations?pageSize=0", "", "", 400, "invalid_parameter", "pageSize"},
		{"page size 201", "GET", "/organizations?pageSize=201", "", "", 400, "invalid_parameter", "pageSize"},
		{"page size in words", "GET", "/organizations?pageSize=many", "", "", 400, "invalid_parameter", "pageSize"},
		{"bad query", "GET", "/organizations?pageSize=%zz", "", "", 400, "invalid_query", ""},
		{"bad time", "GET", "/audit?since=yesterday&organizationId=" + organization, "", "", 400, "invalid_parameter", "since"},
		{"bad action", "GET", "/audit?action=DROP&organizationId=" + organization, "", "", 400, "invalid_parameter", "action"},
		{"bad target", "GET", "/audit?target=%27&organizationId=" + organization, "", "", 400, "invalid_parameter", "target"},
		{"no such path", "GET", "/nothing", "", "", 404, "no_such_route", ""},
		{"the root", "GET", "/", "", "", 404, "no_such_route", ""},
		{"trailing slash", "GET", "/organizations/", "", "", 404, "no_such_route", ""},
		{"double slash", "GET", "//organizations", "", "", 404, "no_such_route", ""},
		{"dots", "GET", "/agents/../organizations", "", "", 404, "no_such_route", ""},
		{"wrong method", "PUT", "/organizations", json, "{}", 405, "method_not_allowed", ""},
		{"invented method", "BREW", "/organizations", "", "", 405, "method_not_allowed", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := i.request(tt.method, tt.path, tt.contentType, tt.body)
			r.Header.Set("Authorization", "Bearer "+adminToken)
			a := i.do(r)
			if tt.name == "no body where one is needed" {
				tt.field = a.field("field") // either of the two
			}
			i.refused(a, tt.status, tt.code, tt.field)
			if tt.status == 405 && a.Header.Get("Allow") != "GET, POST, HEAD" {
				t.Errorf("Allow: %s", a.Header.Get("Allow"))
			}
		})
	}
	for _, tag := range []string{`1`, `W/"1"`, `"1", "2"`, `"01"`, `"x"`, `"0"`, `"99999999999999999999"`, ``} {
		i.refused(i.admin("PATCH", "/agents/"+agent, `{}`, "If-Match", tag), 400, "invalid_if_match", "If-Match")
	}
	r := i.request("POST", orgs, json, `{"slug":"ab","displayName":"a"}`)
	r.Header.Set("Authorization", "Bearer "+adminToken)
	r.Header.Set("Content-Encoding", "gzip")
	i.refused(i.do(r), 415, "unsupported_media_type", "")
	i.exactly64KiB()
}

// exactly64KiB is still read: it fails for its contents and not for its length.
func (i *instance) exactly64KiB() {
	i.t.Helper()
	body := `{"slug":"ab","displayName":"` + strings.Repeat("a", 64<<10-30) + `"}`
	if !json.Valid([]byte(body)) || len(body) != 64<<10 {
		i.t.Fatalf("the test's body has %d bytes", len(body))
	}
	if a := i.admin("POST", "/organizations", body); a.StatusCode != 400 || a.field("field") != "/displayName" {
		i.t.Errorf("64 KiB: %s %s", a.Status, a.body)
	}
}
