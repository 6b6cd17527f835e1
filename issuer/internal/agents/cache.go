package agents

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/changecache"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

// CachedClient is what is remembered of an active client: what ClientForAuthentication answered.
type CachedClient struct {
	Agent      Agent
	Registered []credentials.Registered
}

// Bounds of what is remembered.
const (
	CacheEntriesMax = 1 << 16
	CacheLife       = 10 * time.Second // whatever is heard, nothing is believed for longer
)

// UseCache lets the service answer from a cache. What this service changes it forgets at once; the owner of the cache forgets what others change. It is called
// before the first request.
//
// Only a secret that is right is answered from memory. A wrong one, and any other proof, is looked up: a failure costs the same for a client that is remembered and for one that does
// not exist, and a secret made a moment ago works at once. Whether a client that is remembered may have a token is decided by RecordTokenIssued, in its transaction.
func (s *Service) UseCache(cache *changecache.Cache[agentid.Agent, CachedClient]) {
	s.cache, s.store = cache, cachingStore{s.store, cache}
}

// Changed forgets an agent whose row was changed by something else than this service, in this process: the next token must not be made of what the agent was.
func (s *Service) Changed(id agentid.Agent) {
	if s.cache != nil {
		s.cache.Forget(id)
	}
}

// authenticateCached answers a right secret from memory. For somebody unknown it does the same work.
func (s *Service) authenticateCached(clientID, secret string) (Agent, agentid.Credential, bool) {
	if s.cache == nil {
		return Agent{}, agentid.Credential{}, false
	}
	id, _ := agentid.Parse[agentid.Agent](clientID) // the zero id is nobody's
	cached, _ := s.cache.Get(id)
	matched, ok := s.secrets.Match(secret, cached.Registered)
	return cached.Agent, matched, ok
}

// cachingStore is a Store that keeps a cache true to what passes through it. A change that failed may have been made all the same.
type cachingStore struct {
	Store
	cache *changecache.Cache[agentid.Agent, CachedClient]
}

// ClientForAuthentication implements Store.
func (s cachingStore) ClientForAuthentication(ctx context.Context, id agentid.Agent, now time.Time) (Agent, []credentials.Registered, error) {
	mark := s.cache.Mark()
	agent, registered, err := s.Store.ClientForAuthentication(ctx, id, now)
	if err == nil && agent.Status == Active {
		s.cache.Put(mark, id, CachedClient{agent, registered})
	}
	return agent, registered, err
}

// UpdateAgent implements Store.
func (s cachingStore) UpdateAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64, action audit.Action, change func(*Agent) error) (Agent, error) {
	defer s.cache.Forget(id)
	return s.Store.UpdateAgent(ctx, actor, id, version, action, change)
}

// DeleteAgent implements Store.
func (s cachingStore) DeleteAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64) error {
	defer s.cache.Forget(id)
	return s.Store.DeleteAgent(ctx, actor, id, version)
}

// RotateCredential implements Store.
func (s cachingStore) RotateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, old agentid.Credential, next Credential, hash []byte, overlapUntil time.Time) (Credential, error) {
	defer s.cache.Forget(agent)
	return s.Store.RotateCredential(ctx, actor, agent, old, next, hash, overlapUntil)
}

// DeleteCredential implements Store.
func (s cachingStore) DeleteCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential) error {
	defer s.cache.Forget(agent)
	return s.Store.DeleteCredential(ctx, actor, agent, id)
}

// RecordTokenIssued implements Store. A client that was refused here is not as it is remembered.
func (s cachingStore) RecordTokenIssued(ctx context.Context, actor audit.Actor, i issuance.Record) error {
	err := s.Store.RecordTokenIssued(ctx, actor, i)
	if problem.KindOf(err) == problem.NotFound {
		s.cache.Forget(i.Agent)
	}
	return err
}
