package clientauth

import (
	"context"
	"errors"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/clientdocument"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// documentRetryAfter is when a document that others stood in the way of may be asked for again.
const documentRetryAfter = time.Second

// DocumentSource resolves documents and fetches the keys they name. *clientdocument.Documents is one.
type DocumentSource interface {
	clientdocument.Resolver
	KeySource
}

// Documents authenticates relying parties that are known by the document behind their client_id. They belong to no organization, and agents of any sign in to them. A
// nil *Documents knows none.
type Documents struct {
	source DocumentSource
	gate   Gate
	trust  Trust
}

// NewDocuments returns Documents over a source. The gate is asked before anything is fetched: who names what does not exist is told to wait, as who guesses secrets is.
func NewDocuments(source DocumentSource, g Gate, now func() time.Time) *Documents {
	return &Documents{source, g, Trust{Keys: source, Now: now}}
}

// find is the client behind a URL, NotFound when there is none. Nothing is proven by it.
func (d *Documents) find(ctx context.Context, clientID string) (clients.Client, error) {
	if d == nil {
		return clients.Client{}, unknownClient(nil)
	}
	if err := d.gate.Admit(ctx, clientID); err != nil {
		return clients.Client{}, err
	}
	c, err := d.resolve(ctx, clientID)
	if problem.KindOf(err) == problem.NotFound {
		d.gate.Failed(ctx, clientID)
	}
	return c.Client, err
}

// resolve tells a client that there is not from one that cannot be had now.
func (d *Documents) resolve(ctx context.Context, clientID string) (clientdocument.Client, error) {
	c, err := d.source.Resolve(ctx, clientID)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, clientdocument.ErrUnknown):
		return clientdocument.Client{}, unknownClient(err)
	}
	return clientdocument.Client{}, &problem.Error{
		Kind: problem.Unavailable, Code: "client_document_unavailable", Detail: "the client's document cannot be fetched now", RetryAfter: documentRetryAfter, Err: err,
	}
}

// registry is the documents as clients that prove themselves: with the keys of the document, and with nothing else.
func (d *Documents) registry() registry[clients.Client] {
	return registry[clients.Client]{
		anywhere: true,
		bySecret: func(context.Context, secret) (clients.Client, agentid.Credential, error) {
			return clients.Client{}, agentid.Credential{}, credentials.ErrAuthentication
		},
		byCheck: func(ctx context.Context, clientID string, check credentials.Check) (clients.Client, agentid.Credential, error) {
			c, err := d.resolve(ctx, clientID)
			// The credential has no id that lasts: it is what the document says now.
			keys := credentials.Registered{Credential: agentid.New[agentid.Credential](), Kind: credentials.KindPrivateKeyJWT, Registration: c.Registration}
			matched, err := credentials.Prove(ctx, err, c.Authentication == credentials.PrivateKeyJWT, []credentials.Registered{keys}, check)
			return c.Client, matched, err
		},
	}
}

func unknownClient(why error) error {
	return &problem.Error{Kind: problem.NotFound, Code: "client_not_found", Detail: "there is no such client", Err: why}
}
