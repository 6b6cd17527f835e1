package agents

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/recall"
)

// Known is what is remembered of an active client: what ClientForAuthentication answered.
type Known struct {
	Agent      Agent
	Registered []Registered
}

// Bounds of what is remembered.
const (
	KnownMax  = 1 << 16
	KnownLife = 10 * time.Second // whatever is heard, nothing is believed for longer
)

// Remember lets the service answer from a cache. What this service changes it forgets at once; the owner of the cache forgets what others change. It is called
// before the first request.
//
// Only a secret that is right is answered from memory. A wrong one, and any other proof, is looked up: a failure costs the same for a client that is remembered and for one that does
// not exist, and a secret made a moment ago works at once. Whether a client that is remembered may have a token is decided by RecordTokenIssued, in its transaction.
func (s *Service) Remember(known *recall.Cache[agentid.Agent, Known]) {
	s.known, s.store = known, remembering{s.store, known}
}

// Changed forgets an agent whose row was changed by something else than this service, in this process: the next token must not be made of what the agent was.
func (s *Service) Changed(id agentid.Agent) {
	if s.known != nil {
		s.known.Forget(id)
	}
}

// recalled answers a right secret from memory. For somebody unknown it does the same work.
func (s *Service) recalled(clientID, secret string) (Agent, agentid.Credential, bool) {
	if s.known == nil {
		return Agent{}, agentid.Credential{}, false
	}
	id, _ := agentid.Parse[agentid.Agent](clientID) // the zero id is nobody's
	known, _ := s.known.Get(id)
	matched, ok := s.secrets.Match(secret, known.Registered)
	return known.Agent, matched, ok
}

// remembering is a Store that keeps a cache true to what passes through it. A change that failed may have been made all the same.
type remembering struct {
	Store
	known *recall.Cache[agentid.Agent, Known]
}

// ClientForAuthentication implements Store.
func (r remembering) ClientForAuthentication(ctx context.Context, id agentid.Agent, now time.Time) (Agent, []Registered, error) {
	mark := r.known.Mark()
	agent, registered, err := r.Store.ClientForAuthentication(ctx, id, now)
	if err == nil && agent.Status == Active {
		r.known.Put(mark, id, Known{agent, registered})
	}
	return agent, registered, err
}

// UpdateAgent implements Store.
func (r remembering) UpdateAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64, action audit.Action, change func(*Agent) error) (Agent, error) {
	defer r.known.Forget(id)
	return r.Store.UpdateAgent(ctx, actor, id, version, action, change)
}

// DeleteAgent implements Store.
func (r remembering) DeleteAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64) error {
	defer r.known.Forget(id)
	return r.Store.DeleteAgent(ctx, actor, id, version)
}

// RotateCredential implements Store.
func (r remembering) RotateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, old agentid.Credential, next Credential, hash []byte, overlapUntil time.Time) (Credential, error) {
	defer r.known.Forget(agent)
	return r.Store.RotateCredential(ctx, actor, agent, old, next, hash, overlapUntil)
}

// DeleteCredential implements Store.
func (r remembering) DeleteCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential) error {
	defer r.known.Forget(agent)
	return r.Store.DeleteCredential(ctx, actor, agent, id)
}

// RecordTokenIssued implements Store. A client that was refused here is not as it is remembered.
func (r remembering) RecordTokenIssued(ctx context.Context, actor audit.Actor, i Issuance) error {
	err := r.Store.RecordTokenIssued(ctx, actor, i)
	if problem.KindOf(err) == problem.NotFound {
		r.known.Forget(i.Agent.ID)
	}
	return err
}
