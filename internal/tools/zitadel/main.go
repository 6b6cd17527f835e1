// Command zitadel is a relying party and a resource server as zitadel/oidc makes them, for the tests of the issuer: an agent signs in, the code is redeemed and
// refreshed, tokens are introspected, exchanged and given back. It is told where by the file that issuer/testdata/clients/setting.mjs describes.
//
// It is a program of its own so that the issuer's module does not need what it needs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/client/tokenexchange"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

// setting is what this client needs of it.
type setting struct {
	Issuer  string
	Agents  struct{ Secret, Subject, Service client }
	Parties map[string]client
}

type client struct{ ID, Secret, RedirectURI, Serves string }

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: zitadel setting.json")
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s setting
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	for _, scenario := range []struct {
		name string
		run  func(context.Context, *setting) error
	}{
		{"client credentials and introspection", introspected},
		{"sign-in, user info, refresh, revocation", signIn},
		{"token exchange", exchanged},
	} {
		if err := scenario.run(ctx, &s); err != nil {
			return fmt.Errorf("%s: %w", scenario.name, err)
		}
		fmt.Println("ok", scenario.name)
	}
	return nil
}

// token is one of an agent's own.
func token(ctx context.Context, s *setting, agent client, resource string) (string, error) {
	party, err := rp.NewRelyingPartyOIDC(ctx, s.Issuer, agent.ID, agent.Secret, "", nil)
	if err != nil {
		return "", err
	}
	got, err := rp.ClientCredentials(ctx, party, url.Values{"resource": {resource}})
	if err != nil {
		return "", err
	}
	return got.AccessToken, nil
}

func introspected(ctx context.Context, s *setting) error {
	access, err := token(ctx, s, s.Agents.Secret, s.Agents.Service.Serves)
	if err != nil {
		return err
	}
	server, err := rs.NewResourceServerClientCredentials(ctx, s.Issuer, s.Agents.Service.ID, s.Agents.Service.Secret)
	if err != nil {
		return err
	}
	about, err := rs.Introspect[*oidc.IntrospectionResponse](ctx, server, access)
	if err != nil {
		return err
	}
	if !about.Active || about.Subject != s.Agents.Secret.ID || about.Issuer != s.Issuer {
		return fmt.Errorf("introspected %+v", about)
	}
	return nil
}

// follow is what an agent does with an authorization URL.
func follow(ctx context.Context, link, access string) (*url.URL, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+access)
	agent := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := agent.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSeeOther {
		return nil, errors.New(response.Status)
	}
	return response.Location()
}

func signIn(ctx context.Context, s *setting) error {
	mine := s.Parties["posted"] // this library refreshes and revokes by client_secret_post whatever it is told
	party, err := rp.NewRelyingPartyOIDC(ctx, s.Issuer, mine.ID, mine.Secret, mine.RedirectURI, []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeOfflineAccess},
		rp.WithAuthStyle(oauth2.AuthStyleInParams))
	if err != nil {
		return err
	}
	access, err := token(ctx, s, s.Agents.Subject, s.Issuer)
	if err != nil {
		return err
	}
	const verifier = "a-verifier-of-at-least-forty-three-characters-0123456789"
	back, err := follow(ctx, rp.AuthURL("the-state", party, rp.WithCodeChallenge(oidc.NewSHACodeChallenge(verifier))), access)
	if err != nil {
		return err
	}
	got, err := rp.CodeExchange[*oidc.IDTokenClaims](ctx, back.Query().Get("code"), party, rp.WithCodeVerifier(verifier))
	if err != nil {
		return err
	}
	if got.IDTokenClaims.Subject != s.Agents.Subject.ID || back.Query().Get("state") != "the-state" {
		return fmt.Errorf("signed in as %+v at %s", got.IDTokenClaims, back)
	}
	info, err := rp.Userinfo[*oidc.UserInfo](ctx, got.AccessToken, got.TokenType, got.IDTokenClaims.Subject, party)
	if err != nil {
		return err
	}
	if info.Name != "subject" {
		return fmt.Errorf("user info %+v", info)
	}
	next, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, got.RefreshToken, "", "")
	if err != nil {
		return err
	}
	if err := rp.RevokeToken(ctx, party, next.RefreshToken, "refresh_token"); err != nil {
		return err
	}
	if _, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, next.RefreshToken, "", ""); err == nil {
		return errors.New("a refresh token that was given back is still good")
	}
	return nil
}

func exchanged(ctx context.Context, s *setting) error {
	service := s.Agents.Service
	subject, err := token(ctx, s, s.Agents.Secret, service.Serves)
	if err != nil {
		return err
	}
	exchanger, err := tokenexchange.NewTokenExchangerClientCredentials(ctx, s.Issuer, service.ID, service.Secret)
	if err != nil {
		return err
	}
	got, err := tokenexchange.ExchangeToken(ctx, exchanger, subject, oidc.AccessTokenType, "", "", nil, []string{"svc://ledger"}, []string{"invoices:read"}, oidc.AccessTokenType)
	if err != nil {
		return err
	}
	if got.AccessToken == "" || got.IssuedTokenType != oidc.AccessTokenType {
		return fmt.Errorf("exchanged for %+v", got)
	}
	return nil
}
