package issuer_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer"
)

// killPartner is the issuer that ID-JAGs are for. Nobody asks it anything.
const killPartner = "https://partner.example"

// killed is one organization with everything that can be out in it: the agent "reader" signed in to two relying parties, "other" to one of them, and two services call on.
type killed struct {
	*instance
	giver                        *instance // another process, which knows the partner
	organization                 string
	reader, other, service, next string // agents
	secret, second, serviceID    string // of the reader: two secrets; credentials of the services
	credential                   string // of the reader's first secret
	serviceSecret, nextSecret    string
	dashboard, wiki              *party
	registrationToken            string // of the dashboard
	dashboardTokens              answer
	usedCode, usedVerifier       string
	code, verifier               string // of another sign-in of the reader to the dashboard, not redeemed
	access                       map[string]string
	refresh                      map[string]string
}

// The things that a kill switch may reach. Of each the last question is what comes next: the next refresh, the code's tokens, the next exchange.
const everyToken = "own second own-exchanged dashboard dashboard-exchanged dashboard-exchanged-twice wiki other other-dashboard"

// What is revoked, and what dies of it; docs/api.md has the table in words. Whatever is not named lives, and goes on.
var killSwitches = []struct {
	name string
	kill func(k *killed)
	dead string
}{
	{"nothing", func(*killed) {}, ""},
	{"agent suspended", func(k *killed) { k.post("/agents/" + k.reader + "/suspend") }, ofReader + " next next-sign-in"},
	{"agent suspended and reactivated", func(k *killed) {
		k.post("/agents/" + k.reader + "/suspend")
		k.post("/agents/" + k.reader + "/reactivate")
	}, ofReader},
	{"agent revoked", func(k *killed) { k.post("/agents/" + k.reader + "/revoke") }, ofReader + " next next-sign-in"},
	{"agent deleted", func(k *killed) { k.must(k.admin("DELETE", "/agents/"+k.reader, nil), 204) }, ofReader + " next next-sign-in"},
	{"agent's tokens revoked", func(k *killed) { k.post("/agents/" + k.reader + "/revoke-tokens") }, ofReader},
	{"agent's tokens revoked twice", func(k *killed) {
		k.post("/agents/" + k.reader + "/revoke-tokens")
		k.access["own"] = k.tokenFor(k.reader, k.secret) // dated to the first
		k.post("/agents/" + k.reader + "/revoke-tokens")
		k.awaitTokens()
	}, ofReader},
	{"credential deleted", func(k *killed) {
		k.must(k.admin("DELETE", "/agents/"+k.reader+"/credentials/"+k.credential, nil), 204)
	}, strings.Replace(ofReader, "second ", "", 1)},
	{"service suspended", func(k *killed) { k.post("/agents/" + k.service + "/suspend") }, ofService + " next-exchange"},
	{"service suspended and reactivated", func(k *killed) {
		k.post("/agents/" + k.service + "/suspend")
		k.post("/agents/" + k.service + "/reactivate")
	}, ofService},
	{"service's credential deleted", func(k *killed) {
		k.must(k.admin("DELETE", "/agents/"+k.service+"/credentials/"+k.serviceID, nil), 204)
	}, ofService + " next-exchange"},
	{"next service deleted", func(k *killed) { k.must(k.admin("DELETE", "/agents/"+k.next, nil), 204) }, "dashboard-exchanged-twice next-exchange-twice"},
	{
		"organization's tokens revoked", func(k *killed) { k.post("/organizations/" + k.organization + "/revoke-tokens") },
		everyToken + " dashboard-refresh wiki-refresh other-refresh code assertion",
	},
	{"organization's tokens revoked twice", func(k *killed) {
		k.post("/organizations/" + k.organization + "/revoke-tokens")
		k.access["own"] = k.tokenFor(k.reader, k.secret)
		k.post("/organizations/" + k.organization + "/revoke-tokens")
		k.awaitTokens()
	}, everyToken + " dashboard-refresh wiki-refresh other-refresh code assertion"},
	{"one token, by an administrator", func(k *killed) {
		_, claims := k.verified(k.access["dashboard"])
		k.must(k.admin("POST", "/agents/"+k.reader+"/revoke-tokens", map[string]any{"tokenId": claims["jti"]}), 200)
	}, "dashboard"},
	{"one token, by who got it", func(k *killed) { k.giveBack(k.dashboard, k.access["dashboard"]) }, "dashboard"},
	{"sign-in, given back", func(k *killed) { k.giveBack(k.dashboard, k.refresh["dashboard"]) }, ofSignIn},
	{"sign-in, its code again", func(k *killed) {
		k.oauthRefused("the code again", k.dashboard.redeem(k.usedCode, k.usedVerifier), 400, "invalid_grant")
	}, ofSignIn},
	{"relying party deleted", func(k *killed) { k.must(k.admin("DELETE", "/clients/"+k.dashboard.oauth.ClientID, nil), 204) }, ofClient},
	{"relying party gone by itself", func(k *killed) {
		k.must(k.registration("DELETE", "/oauth2/register/"+k.dashboard.oauth.ClientID, k.registrationToken, ""), 204)
	}, ofClient},
}

const (
	ofReader  = "own second own-exchanged dashboard dashboard-exchanged dashboard-exchanged-twice wiki dashboard-refresh wiki-refresh code assertion"
	ofService = "own-exchanged dashboard-exchanged dashboard-exchanged-twice"
	ofSignIn  = "dashboard dashboard-exchanged dashboard-exchanged-twice dashboard-refresh assertion"
	ofClient  = ofSignIn + " other-dashboard other-refresh code next-sign-in"
)

// Every kill switch means the same for every grant and for what is made of its tokens: as introspection says at once, as sidecars read it from the list, and for what comes next.
func TestKillSwitches(t *testing.T) {
	t.Parallel()
	i := start(t)
	all := make([]*killed, 0, len(killSwitches))
	var partners []issuer.Partner
	for n := range killSwitches {
		k := i.newKilled("kill-" + string(rune('a'+n)))
		all = append(all, k)
		partners = append(partners, issuer.Partner{Issuer: killPartner, OrganizationID: k.organization, Clients: []issuer.PartnerClient{{RelyingPartyID: k.dashboard.oauth.ClientID, ClientID: "us"}}})
	}
	giver := i.beside(func(c *issuer.Config) { c.Federation.Partners = partners })
	for n, tt := range killSwitches {
		t.Run(tt.name, func(t *testing.T) {
			k := all[n]
			k.instance, k.giver = i.in(t), giver.in(t)
			k.dashboard.instance, k.wiki.instance = k.instance, k.instance
			k.signIn()
			tt.kill(k)
			k.check(strings.Fields(tt.dead))
		})
	}
}

func (k *killed) post(path string) {
	k.t.Helper()
	k.must(k.admin("POST", path, nil), 200)
}

// awaitTokens waits out the rest of a second in which everything was revoked twice: what would be dead when it arrives is not given.
func (k *killed) awaitTokens() {
	k.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		a := k.tokenRequest(k.reader, k.second, url.Values{"grant_type": {"client_credentials"}})
		if a.StatusCode == http.StatusOK || time.Now().After(deadline) {
			return
		}
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			k.t.Fatalf("%s %s", a.Status, a.body)
		}
	}
}

func (k *killed) giveBack(p *party, token string) {
	k.t.Helper()
	k.must(k.tokenQuestion("/oauth2/revoke", p.oauth.ClientID, p.oauth.ClientSecret, url.Values{"token": {token}}), 200)
}

func (i *instance) newKilled(slug string) *killed {
	i.t.Helper()
	k := &killed{instance: i, organization: i.organization(slug)}
	agent := func(name string, serves ...string) string {
		return i.must(i.admin("POST", "/agents", map[string]any{
			"organizationId": k.organization, "name": name, "type": "assistant", "scopes": []string{"invoices:read"}, "serves": append([]string{}, serves...), "audiences": []string{i.url, "svc://payments", killPartner},
		}), 201).field("id")
	}
	k.reader, k.other, k.service, k.next = agent("reader"), agent("other"), agent("service", "svc://payments"), agent("next", "svc://payments")
	k.credential, k.secret = i.credential(k.reader)
	_, k.second = i.credential(k.reader)
	k.serviceID, k.serviceSecret = i.credential(k.service)
	_, k.nextSecret = i.credential(k.next)
	// The dashboard registers itself: an administrator can delete it all the same.
	initial := i.initialTokenFor(k.organization, []string{"relying_party"}, map[string]any{"audiences": []string{"svc://payments", killPartner}})
	registered := i.must(i.registration("POST", "/oauth2/register", initial, partyMetadata(i.t, map[string]any{"scope": "openid offline_access invoices:read"})), 201)
	k.registrationToken = i.secret(registered.field("registration_access_token"))
	k.wiki = i.relyingParty(k.organization, map[string]any{"name": "wiki", "scopes": []string{"invoices:read"}, "audiences": []string{"svc://payments"}})
	known := *k.wiki.oauth
	known.ClientID, known.ClientSecret = registered.field("client_id"), i.secret(registered.field("client_secret"))
	k.dashboard = &party{i, k.wiki.provider, &known}
	return k
}

func (k *killed) tokenFor(agent, secret string) string {
	k.t.Helper()
	return k.must(k.tokenRequest(agent, secret, url.Values{"grant_type": {"client_credentials"}, "resource": {"svc://payments"}}), 200).field("access_token")
}

func (k *killed) exchanged(agent, secret, subject string) answer {
	k.t.Helper()
	return k.tokenRequest(agent, secret, url.Values{"grant_type": {exchangeGrant}, "subject_token": {subject}, "subject_token_type": {accessTokenType}, "resource": {"svc://payments"}})
}

var forPayments = []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("resource", "svc://payments"), oauth2.SetAuthURLParam("scope", "openid offline_access invoices:read")}

// signIn gets everything that can be out.
func (k *killed) signIn() {
	k.t.Helper()
	k.access, k.refresh = map[string]string{}, map[string]string{}
	otherSecret := func() string { _, s := k.credential2(k.other); return s }()
	k.access["own"], k.access["second"] = k.tokenFor(k.reader, k.secret), k.tokenFor(k.reader, k.second)
	k.access["other"] = k.tokenFor(k.other, otherSecret)
	k.access["own-exchanged"] = k.must(k.exchanged(k.service, k.serviceSecret, k.access["own"]), 200).field("access_token")

	own := k.token(k.reader, k.secret)
	k.usedVerifier = oauth2.GenerateVerifier()
	k.usedCode = k.dashboard.code(own, "s", k.usedVerifier, forPayments...)
	k.dashboardTokens = k.must(k.dashboard.redeem(k.usedCode, k.usedVerifier), 200)
	k.access["dashboard"], k.refresh["dashboard-refresh"] = k.dashboardTokens.field("access_token"), k.dashboardTokens.field("refresh_token")
	k.refresh["dashboard"] = k.refresh["dashboard-refresh"]
	wiki, other := k.wiki.signedIn(own, forPayments...), k.dashboard.signedIn(k.token(k.other, otherSecret), forPayments...)
	k.access["wiki"], k.refresh["wiki-refresh"] = wiki.field("access_token"), wiki.field("refresh_token")
	k.access["other-dashboard"], k.refresh["other-refresh"] = other.field("access_token"), other.field("refresh_token")
	k.access["dashboard-exchanged"] = k.must(k.exchanged(k.service, k.serviceSecret, k.access["dashboard"]), 200).field("access_token")
	k.access["dashboard-exchanged-twice"] = k.must(k.exchanged(k.next, k.nextSecret, k.access["dashboard-exchanged"]), 200).field("access_token")
	k.verifier = oauth2.GenerateVerifier()
	k.code = k.dashboard.code(own, "s", k.verifier, forPayments...)
}

// credential2 is credential, under a name that the field does not hide.
func (k *killed) credential2(agent string) (id, secret string) { return k.instance.credential(agent) }

// sidecar is what a sidecar makes of a token by the list: it asks about the subject and about each actor (extauthz/internal/identity).
func (l list) sidecar(claims map[string]any) string {
	index := trust.Index(l.RevocationList)
	iat, _ := claims["iat"].(float64)
	if what := l.revokes(claims); what != "" {
		return what
	}
	text := func(m map[string]any, name string) string { s, _ := m[name].(string); return s }
	for act, ok := claims["act"].(map[string]any); ok; act, ok = act["act"].(map[string]any) {
		f := trust.Facts{Agent: text(act, "sub"), OrganizationID: text(act, "org_id"), CredentialID: text(act, "credential_id"), Issuer: text(claims, "iss"), IssuedAt: int64(iat)}
		if what := index.Check(&f); what != "" {
			return what
		}
	}
	return ""
}

// active asks introspection, as a service of the organization that every token is for; it is nobody's victim.
func (k *killed) active(watcher, secret, token string) bool {
	k.t.Helper()
	return strings.HasPrefix(string(k.introspect(watcher, secret, token).body), `{"active":true`)
}

func (k *killed) check(dead []string) {
	k.t.Helper()
	is := make(map[string]bool)
	for _, d := range dead {
		is[d] = true
	}
	wrong := func(what, how string, lives bool) {
		k.t.Helper()
		if lives == is[what] {
			k.t.Errorf("%s: %s: lives %v, want %v", what, how, lives, !is[what])
		}
	}
	watcher := k.server(k.organization, "watcher", "svc://payments")
	_, watching := k.credential2(watcher)
	claims := map[string]map[string]any{}
	for _, what := range strings.Fields(everyToken) {
		_, claims[what] = k.verified(k.access[what])
		wrong(what, "introspection", k.active(watcher, watching, k.access[what]))
	}
	for _, what := range []string{"dashboard-refresh", "wiki-refresh", "other-refresh"} {
		if p := k.partyOf(what); what == "wiki-refresh" || !is["next-sign-in"] || is["next"] { // else the relying party is gone, and cannot ask
			wrong(what, "introspection", k.active(p.oauth.ClientID, p.oauth.ClientSecret, k.refresh[what]))
		}
	}
	l := k.revocations()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); l = k.revocations() { // one rendering of the list is reused for a moment
		missing := false
		for what, c := range claims {
			missing = missing || is[what] && l.sidecar(c) == ""
		}
		if !missing {
			break
		}
	}
	for what, c := range claims {
		wrong(what, "the list", l.sidecar(c) == "")
	}
	k.checkNext(is, wrong, watcher, watching)
}

func (k *killed) partyOf(what string) *party {
	if what == "wiki-refresh" {
		return k.wiki
	}
	return k.dashboard
}

// checkNext tries what comes next. What is given lives.
func (k *killed) checkNext(is map[string]bool, wrong func(what, how string, lives bool), watcher, watching string) {
	k.t.Helper()
	given := func(what, how string, a answer) {
		k.t.Helper()
		if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusUnauthorized {
			k.t.Errorf("%s: %s: %s %s", what, how, a.Status, a.body)
		}
		wrong(what, how, a.StatusCode == http.StatusOK)
		if token := a.field("access_token"); token != "" && a.field("token_type") != "N_A" && !k.active(watcher, watching, token) {
			k.t.Errorf("%s: %s: dead on arrival", what, how)
		}
	}
	for _, subject := range []string{"own", "dashboard", "wiki", "other", "other-dashboard"} {
		if !is["next-exchange"] {
			given(subject, "the next exchange", k.exchanged(k.service, k.serviceSecret, k.access[subject]))
		}
	}
	if !is["next-exchange-twice"] {
		given("dashboard-exchanged", "the next exchange", k.exchanged(k.next, k.nextSecret, k.access["dashboard-exchanged"]))
	}
	at := *k.dashboard
	at.instance = k.giver
	for kind, token := range map[string]string{idTokenType: k.dashboardTokens.field("id_token"), refreshTokenType: k.refresh["dashboard-refresh"]} {
		given("assertion", kind, at.tokens(url.Values{
			"grant_type": {exchangeGrant}, "requested_token_type": {idJAGType}, "subject_token": {token}, "subject_token_type": {kind}, "audience": {killPartner}, "scope": {"invoices:read"},
		}))
	}
	for _, what := range []string{"dashboard-refresh", "wiki-refresh", "other-refresh"} {
		given(what, "the next refresh", k.partyOf(what).refresh(k.refresh[what]))
	}
	given("code", "redeemed", k.dashboard.redeem(k.code, k.verifier))

	own := k.tokenRequest(k.reader, k.second, url.Values{"grant_type": {"client_credentials"}, "resource": {"svc://payments"}})
	given("next", "the next token", own)
	if is["next"] {
		return
	}
	forIssuer := k.must(k.tokenRequest(k.reader, k.second, url.Values{"grant_type": {"client_credentials"}, "resource": {k.url}}), 200).field("access_token")
	verifier := oauth2.GenerateVerifier()
	back, _ := k.follow(k.dashboard.oauth.AuthCodeURL("s", append(forPayments, oauth2.S256ChallengeOption(verifier))...), forIssuer)
	if back == nil {
		wrong("next-sign-in", "the next sign-in", false)
		return
	}
	signedIn := k.dashboard.redeem(back.Query().Get("code"), verifier)
	given("next-sign-in", "the next sign-in", signedIn)
	given("next-sign-in", "its refresh", k.dashboard.refresh(signedIn.field("refresh_token")))
}
