package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"

	"github.com/agentidp/agentidp/internal/problem"
)

// Page sizes of lists.
const (
	pageSizeDefault = 50
	pageSizeMax     = 200
)

// pageTokenBytesMax is far above any token we make: 12 nonce, 36 id, 16 tag, in base64url.
const pageTokenBytesMax = 200

// Pages makes and opens page tokens: the id of the last thing shown, sealed together with the query it belongs to. A token that was made up, changed, or
// taken from another list, filter or organization does not open, so a cursor can never carry a listing into another one.
type Pages struct{ aead cipher.AEAD }

// NewPages derives its key from a secret that all instances share.
func NewPages(secret []byte) (*Pages, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "agentidp page tokens v1", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Pages{aead}, nil
}

// Page is the part of a list that was asked for.
type Page struct {
	Size  int
	After string // id of the last thing on the page before; "" for the first page
	pages *Pages
	query []byte
}

// Read reads pageSize and pageToken of a list operation.
func (p *Pages) Read(r *http.Request, q *Query) (*Page, error) {
	size, err := q.Int("pageSize", 1, pageSizeMax, pageSizeDefault)
	if err != nil {
		return nil, err
	}
	page := &Page{Size: size, pages: p, query: queryIdentity(r, q)}
	if !q.Has("pageToken") {
		return page, nil
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(q.Get("pageToken"))
	if err != nil || len(q.Get("pageToken")) > pageTokenBytesMax {
		return nil, errPageToken()
	}
	after, err := p.aead.Open(nil, nil, sealed, page.query)
	if err != nil || len(after) == 0 {
		return nil, errPageToken()
	}
	page.After = string(after)
	return page, nil
}

// Limit is how many things to ask the store for: one more than the page holds, to see whether there is a next one.
func (p *Page) Limit() int { return p.Size + 1 }

// Cut is one page of what the store returned for Limit, and the token of the next page, nil on the last one.
func Cut[T any](p *Page, found []T, id func(T) string) ([]T, *string) {
	if len(found) <= p.Size {
		return found, nil
	}
	found = found[:p.Size]
	token := base64.RawURLEncoding.EncodeToString(p.pages.aead.Seal(nil, nil, []byte(id(found[p.Size-1])), p.query))
	return found, &token
}

// queryIdentity is what must be the same on every page: the route and all parameters but those of paging.
func queryIdentity(r *http.Request, q *Query) []byte {
	rest := url.Values{}
	for name, values := range q.values {
		if name != "pageToken" && name != "pageSize" {
			rest[name] = slices.Clone(values)
		}
	}
	return []byte(r.URL.Path + "?" + rest.Encode()) // Encode sorts by name
}

func errPageToken() error {
	return &problem.Error{Kind: problem.Invalid, Code: "invalid_page_token", Field: "pageToken", Detail: "This is not the nextPageToken of this list with these parameters."}
}
