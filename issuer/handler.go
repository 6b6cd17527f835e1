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

// opened is what New opened, for the handler to be put together from.
type opened struct {
	cfg             Config
	env             Environment
	store           *postgres.Store
	issuers         *issuers.Set
	rings           *keys.Rings
	trust           clientauth.Trust
	clientDocuments *clientdocument.Documents // nil when they are not served
	partners        *federation.Partners
	caches          *caches
	gate            *ratelimit.Gate
	tracer          *obs.Tracer // nil when off
}

// shared is what several endpoints have in common.
type shared struct {
	opened
	hashKey   []byte
	agents    *agents.Service
	agentAuth *clientauth.AgentAuthenticator
	minter    *tokens.Minter
	proofs    *dpop.Checker
	list      *revocation.List
	judge     *tokenstate.Judge
	dids      did.Namespace
}

func newShared(o opened) (s shared, err error) {
	s = shared{opened: o, hashKey: []byte(o.cfg.CredentialHashKey.Reveal())}
	issuer, err := parseIssuer(o.cfg.Issuer)
	if err != nil {
		return shared{}, err
	}
	if s.dids, err = did.NewNamespace(issuer); err != nil {
		return shared{}, err
	}
	if s.agents, err = agents.NewService(o.store, s.hashKey, o.env.Now); err != nil {
		return shared{}, err
	}
	s.agents.UseCache(o.caches.agents)
	if s.minter, err = tokens.NewMinter(o.cfg.Tokens.Lifetime.Duration, s.dids, o.env.Now); err != nil {
		return shared{}, err
	}
	if s.proofs, err = dpop.New(s.hashKey, o.cfg.Tokens.DPoPNonce == nonceRequired); err != nil {
		return shared{}, err
	}
	s.agentAuth = clientauth.NewAgentAuthenticator(s.agents, o.trust, o.gate)
	s.list = revocation.New(o.store, o.cfg.Issuer, o.env.Now)
	s.judge = tokenstate.New(o.store, s.list, o.env.Now)
	return s, nil
}

// newHandler connects the parts.
func newHandler(o opened) (*web.Handler, error) {
	s, err := newShared(o)
	if err != nil {
		return nil, err
	}
	signIn, err := newSignIn(s)
	if err != nil {
		return nil, err
	}
	tokenEndpoint, err := newTokenEndpoint(s, signIn)
	if err != nil {
		return nil, err
	}
	management, registrations, err := newManagementEndpoints(s, signIn, tokenEndpoint)
	if err != nil {
		return nil, err
	}
	guard, err := adminapi.NewGuard(o.cfg.BootstrapToken.Reveal())
	if err != nil {
		return nil, err
	}
	pages, err := web.NewPages(s.hashKey)
	if err != nil {
		return nil, err
	}
	now := o.env.Now
	admin := &adminapi.API{
		Organizations: orgs.NewService(o.caches, now), Limits: orgs.NewLimitsService(o.caches, now), Agents: s.agents, Methods: s.agentAuth, Clients: signIn.relyingParties,
		Revocation: revocation.NewService(revocations{o.store, s.agents}, s.agents, now), Registration: registrations, Audit: o.store, Pages: pages, DIDs: s.dids,
		Issuers: o.issuers, SigningKeys: o.rings,
	}
	documents := discovery.New(discovery.Config{
		GrantTypes: tokenEndpoint.Types(), ClientAuthentication: s.agentAuth.Methods(), AssertionAlgorithms: clientauth.Algorithms(),
		IDTokenAlgorithms: []string{string(jose.RS256)}, SignIn: signInMetadata(o.clientDocuments != nil), DPoPAlgorithms: dpop.Algorithms(),
		MaxAge: o.cfg.Discovery.MaxAge.Duration, Contract: api.Contract,
	})
	proxies, _ := parseProxies(o.cfg.TrustedProxies)
	return web.NewHandler(web.Config{
		Routes: o.issuers.Resolve(adminapi.Routes(operations{admin, tokenEndpoint, documents, s.list, management, signIn.endpoint, signIn.info})),
		Around: limited(o.gate), Authenticate: administrators(guard, o.gate), Challenge: adminapi.Challenge, ConcurrentMax: o.cfg.RequestsMax, TrustedProxies: proxies,
		Metrics: o.env.Registry, MetricsPrefix: metricsName, Tracer: o.tracer, Log: o.env.Log, Now: now,
	})
}
