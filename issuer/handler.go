package issuer

import (
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/api"
	"github.com/agentidp/agentidp/issuer/internal/adminapi"
	"github.com/agentidp/agentidp/issuer/internal/agentinfo"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clientdocument"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/discovery"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/federation"
	"github.com/agentidp/agentidp/issuer/internal/grants"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
	"github.com/agentidp/agentidp/issuer/internal/revocation"
	"github.com/agentidp/agentidp/issuer/internal/signin"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// operations serves the whole contract: one embedded part for each concern. An operation added to openapi.yaml does not compile until a part has it.
type operations struct {
	*adminapi.API
	*grants.Endpoint
	*discovery.Documents
	*revocation.List
	managementEndpoints
	*signin.Authorization
	*agentinfo.Info
}

var _ adminapi.ServerInterface = operations{}

// newHandler connects the parts.
func newHandler(cfg Config, env Environment, store *postgres.Store, served *issuers.Set, rings *keys.Rings, trust clientauth.Trust, named *clientdocument.Documents, partners *federation.Partners, c *caches, gate *ratelimit.Gate, tracer *obs.Tracer) (*web.Handler, error) {
	issuer, err := parseIssuer(cfg.Issuer)
	if err != nil {
		return nil, err
	}
	dids, err := did.NewNamespace(issuer)
	if err != nil {
		return nil, err
	}
	hashKey := []byte(cfg.CredentialHashKey.Reveal())
	agentService, err := agents.NewService(store, hashKey, env.Now)
	if err != nil {
		return nil, err
	}
	agentService.UseCache(c.agents)
	pages, err := web.NewPages(hashKey)
	if err != nil {
		return nil, err
	}
	minter, err := tokens.NewMinter(cfg.Tokens.Lifetime.Duration, dids, env.Now)
	if err != nil {
		return nil, err
	}
	proofs, err := dpop.New(hashKey, cfg.Tokens.DPoPNonce == nonceRequired)
	if err != nil {
		return nil, err
	}
	authenticator := clientauth.NewAgentAuthenticator(agentService, trust, gate)
	list := revocation.New(store, cfg.Issuer, env.Now)
	judge := tokenstate.New(store, list, env.Now)
	parts := shared{hashKey, store, agentService, minter, proofs, judge, dids, gate, trust, authenticator, env.Now, named}
	signIn, err := newSignIn(parts)
	if err != nil {
		return nil, err
	}
	endpoint, err := newTokenEndpoint(cfg, env, tokenParts{
		agents: agentService, clients: signIn.senders, minter: minter, proofs: proofs, dids: dids, judge: judge, partners: partners,
	}, signIn.grants)
	if err != nil {
		return nil, err
	}
	management, registrations, err := newManagementEndpoints(parts, signIn, endpoint)
	if err != nil {
		return nil, err
	}
	documents := discovery.New(discovery.Config{
		GrantTypes: endpoint.Types(), ClientAuthentication: authenticator.Methods(), AssertionAlgorithms: clientauth.Algorithms(),
		IDTokenAlgorithms: []string{string(jose.RS256)}, SignIn: signInMetadata(named != nil), DPoPAlgorithms: dpop.Algorithms(), MaxAge: cfg.Discovery.MaxAge.Duration, Contract: api.Contract,
	})
	guard, err := adminapi.NewGuard(cfg.BootstrapToken.Reveal())
	if err != nil {
		return nil, err
	}
	proxies, _ := parseProxies(cfg.TrustedProxies)
	return web.NewHandler(web.Config{
		Routes: served.Resolve(adminapi.Routes(operations{
			&adminapi.API{
				Organizations: orgs.NewService(store, env.Now), Limits: orgs.NewLimitsService(c, env.Now), Agents: agentService, Methods: authenticator, Clients: signIn.clients,
				Revocation: revocation.NewService(revocations{store, agentService}, agentService, env.Now), Registration: registrations, Audit: store, Pages: pages, DIDs: dids,
				Issuers: served, SigningKeys: rings,
			},
			endpoint, documents, list, management, signIn.endpoint, signIn.info,
		})),
		Around: limited(gate), Authenticate: administrators(guard, gate), Challenge: adminapi.Challenge, ConcurrentMax: cfg.RequestsMax, TrustedProxies: proxies,
		Metrics: env.Registry, MetricsPrefix: metricsName, Tracer: tracer, Log: env.Log, Now: env.Now,
	})
}
