package issuer_test

import (
	"net/http"
	"net/url"
	"testing"
)

const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
)

// caller is an agent with a secret, and service an agent that the caller's tokens are meant for.
type delegation struct {
	organization, caller, callerSecret, service, serviceSecret string
}

func (i *instance) delegation() delegation {
	i.t.Helper()
	d := delegation{organization: i.organization("acme")}
	d.caller, d.service = i.agent(d.organization, "caller"), i.agent(d.organization, "payments")
	_, d.callerSecret = i.credential(d.caller)
	_, d.serviceSecret = i.credential(d.service)
	i.must(i.admin("PATCH", "/agents/"+d.service, map[string]any{"serves": []string{"svc://payments"}, "audiences": []string{"svc://ledger"}}), 200)
	return d
}

func (i *instance) exchange(d delegation, subjectToken string, more ...string) answer {
	i.t.Helper()
	form := url.Values{"grant_type": {exchangeGrant}, "subject_token": {subjectToken}, "subject_token_type": {accessTokenType}}
	for n := 0; n < len(more); n += 2 {
		form.Add(more[n], more[n+1])
	}
	return i.tokenRequest(d.service, d.serviceSecret, form)
}

// RFC 8693: a service that was called calls on, for its caller.
func TestTokenExchange(t *testing.T) {
	t.Parallel()
	i := start(t)
	d := i.delegation()
	subject := i.token(d.caller, d.callerSecret)
	a := i.must(i.exchange(d, subject, "audience", "svc://ledger", "scope", "invoices:read"), 200)
	if a.field("issued_token_type") != accessTokenType || a.field("token_type") != "Bearer" || a.field("scope") != "invoices:read" {
		t.Errorf("%s", a.body)
	}
	_, before := i.verified(subject)
	_, claims := i.verified(a.field("access_token"))
	act, _ := claims["act"].(map[string]any)
	if claims["sub"] != d.caller || claims["client_id"] != d.service || claims["aud"] != "svc://ledger" || act["sub"] != d.service || claims["credential_id"] != before["credential_id"] {
		t.Errorf("claims %v", claims)
	}
	if claims["exp"].(float64) > before["exp"].(float64) {
		t.Errorf("it lives until %v, and what it was made from until %v", claims["exp"], before["exp"])
	}
	var log struct {
		Records []struct {
			Actor   map[string]string
			Details map[string]any
		}
	}
	i.must(i.admin("GET", "/audit?action=token.issue&organizationId="+d.organization, nil), 200).json(t, &log)
	if r := log.Records[0]; r.Actor["id"] != d.service || r.Details["subject"] != d.caller || r.Details["subjectTokenId"] != before["jti"] || r.Details["grantType"] != exchangeGrant {
		t.Errorf("recorded %+v", r)
	}
}

// A service gets a token about its caller for nothing but what the caller's record allows, as it is at that moment, whatever its own record says.
func TestTokenExchangeNarrowsTheAudience(t *testing.T) {
	t.Parallel()
	i := start(t)
	d := i.delegation()
	subject := i.token(d.caller, d.callerSecret)
	i.must(i.exchange(d, subject, "audience", "svc://ledger"), 200)
	i.must(i.admin("PATCH", "/agents/"+d.caller, map[string]any{"audiences": []string{"svc://payments"}}), 200)
	i.oauthRefused("by name", i.exchange(d, subject, "audience", "svc://ledger"), 400, "invalid_target")
	i.oauthRefused("by default", i.exchange(d, subject), 400, "invalid_target")

	i.must(i.admin("PATCH", "/agents/"+d.service, map[string]any{"audiences": []string{"svc://ledger", "svc://payments"}}), 200)
	_, claims := i.verified(i.must(i.exchange(d, subject), 200).field("access_token"))
	if claims["aud"] != "svc://payments" {
		t.Errorf("by default it is for %v, want what both may ask for", claims["aud"])
	}
}

// A token that is dead makes no other, however it died; and it may not be exchanged by whom it was not meant for.
func TestTokenExchangeOfDeadTokens(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(i *instance, d delegation, credential string){
		"suspended": func(i *instance, d delegation, _ string) {
			i.must(i.admin("POST", "/agents/"+d.caller+"/suspend", nil), 200)
		},
		"suspended and reactivated": func(i *instance, d delegation, _ string) {
			i.must(i.admin("POST", "/agents/"+d.caller+"/suspend", nil), 200)
			i.must(i.admin("POST", "/agents/"+d.caller+"/reactivate", nil), 200)
		},
		"credential deleted": func(i *instance, d delegation, credential string) {
			i.must(i.admin("DELETE", "/agents/"+d.caller+"/credentials/"+credential, nil), 204)
		},
		"not meant for the service any more": func(i *instance, d delegation, _ string) {
			i.must(i.admin("PATCH", "/agents/"+d.service, map[string]any{"serves": []string{}}), 200)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t)
			d := i.delegation()
			subject := i.token(d.caller, d.callerSecret)
			_, claims := i.verified(subject)
			i.must(i.exchange(d, subject), 200)
			kill(i, d, claims["credential_id"].(string))
			if a := i.exchange(d, subject); a.StatusCode != http.StatusBadRequest || a.field("error") != "invalid_request" {
				t.Errorf("%s %s", a.Status, a.body)
			}
		})
	}
}
