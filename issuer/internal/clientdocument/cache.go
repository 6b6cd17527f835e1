package clientdocument

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// outcome of one fetch.
type outcome struct {
	client      Client
	etag        string
	fresh       time.Duration
	notModified bool // the document of the entry still holds
}

// entry is a client that was resolved, or the refusal of one.
type entry struct {
	clientID string
	client   Client
	etag     string
	err      error // a refusal
	until    time.Time
}

// flight is one fetch that everybody who asks for the same client waits for.
type flight struct {
	done   chan struct{}
	client Client
	err    error
}

// cache remembers clients and refusals apart from each other, so that nobody pushes clients out by asking for what does not exist. In each the one that
// was used least recently goes first.
type cache struct {
	now func() time.Time

	mu       sync.Mutex
	clients  recent
	refusals recent
	flights  map[string]*flight
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, clients: newRecent(documentsMax), refusals: newRecent(refusalsMax), flights: make(map[string]*flight)}
}

// get answers from memory, else from one load that all who ask at the same time share. load gets the ETag of a document that is no longer fresh.
func (c *cache) get(ctx context.Context, clientID string, load func(ctx context.Context, etag string) (outcome, error)) (Client, error) {
	c.mu.Lock()
	now := c.now()
	if e := c.refusals.get(clientID); e != nil && now.Before(e.until) {
		c.mu.Unlock()
		return Client{}, e.err
	}
	known := c.clients.get(clientID)
	if known != nil && now.Before(known.until) {
		c.mu.Unlock()
		return known.client, nil
	}
	f, flying := c.flights[clientID]
	if !flying {
		f = &flight{done: make(chan struct{})}
		c.flights[clientID] = f
		go c.fly(context.WithoutCancel(ctx), clientID, known, f, load) // whoever asked first may leave; the others still want it
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.client, f.err
	case <-ctx.Done():
		return Client{}, ctx.Err()
	}
}

// fly loads and keeps what came of it. A document that cannot be had any more ends its client: who takes it away means it.
func (c *cache) fly(ctx context.Context, clientID string, known *entry, f *flight, load func(ctx context.Context, etag string) (outcome, error)) {
	defer func() {
		if p := recover(); p != nil { // on a goroutine of its own it would end the process
			f.client, f.err = Client{}, unknown(fmt.Errorf("reading it panicked: %v", p))
		}
		c.mu.Lock()
		delete(c.flights, clientID)
		c.mu.Unlock()
		close(f.done)
	}()
	etag := ""
	if known != nil {
		etag = known.etag
	}
	got, err := load(ctx, etag)
	f.err = err
	if err == nil {
		f.client = got.client
		if got.notModified && known != nil {
			f.client = known.client
		}
	}
	c.keep(clientID, f.client, got, err)
}

func (c *cache) keep(clientID string, client Client, got outcome, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	switch {
	case err == nil:
		c.clients.put(&entry{clientID: clientID, client: client, etag: got.etag, until: now.Add(got.fresh)})
		c.refusals.drop(clientID)
	case errors.Is(err, ErrUnknown):
		c.refusals.put(&entry{clientID: clientID, err: err, until: now.Add(refusedFor)})
		c.clients.drop(clientID)
	}
}

// recent is a bounded map that forgets what was used least recently.
type recent struct {
	max   int
	order *list.List // of *entry, most recent first
	byID  map[string]*list.Element
}

func newRecent(n int) recent {
	return recent{max: n, order: list.New(), byID: make(map[string]*list.Element)}
}

func (r *recent) get(clientID string) *entry {
	element, ok := r.byID[clientID]
	if !ok {
		return nil
	}
	r.order.MoveToFront(element)
	e, _ := element.Value.(*entry)
	return e
}

func (r *recent) put(e *entry) {
	r.drop(e.clientID)
	r.byID[e.clientID] = r.order.PushFront(e)
	if r.order.Len() > r.max {
		if oldest, ok := r.order.Back().Value.(*entry); ok {
			r.drop(oldest.clientID)
		}
	}
}

func (r *recent) drop(clientID string) {
	if element, ok := r.byID[clientID]; ok {
		r.order.Remove(element)
		delete(r.byID, clientID)
	}
}
