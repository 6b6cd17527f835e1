package extauthz

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
)

// wellKnownResource is where a client looks for the metadata of a resource (RFC 9728 s3).
const wellKnownResource = "/.well-known/oauth-protected-resource"

// reasonMetadata is that somebody asked for the resource's metadata; reasonMetadataMethod, by another method than GET or
// HEAD.
const (
	reasonMetadata       = "resource_metadata"
	reasonMetadataMethod = "resource_metadata_method"
)

// published is a Resource as it is served.
type published struct {
	address  string    // for resource_metadata (RFC 9728 s5.1)
	paths    [2]string // where the document is: at the resource's own place, and at the root of the host
	document *checkresp.Document
}

// publish prepares what is served; a nil Resource publishes nothing.
func publish(p *settings.Resource) (*published, error) {
	if p == nil {
		return nil, nil
	}
	u, err := url.Parse(p.Identifier)
	if err != nil {
		return nil, err
	}
	contents, err := p.Document()
	if err != nil {
		return nil, err
	}
	own := wellKnownResource
	if u.Path != "/" { // RFC 9728 s3.1: a slash that ends the host is left out
		own += u.Path
	}
	return &published{
		address: u.Scheme + "://" + u.Host + own, paths: [2]string{own, wellKnownResource}, document: checkresp.NewDocument(contents),
	}, nil
}

// challenge adds to a challenge where the metadata is (RFC 9728 s5.1).
func (p *published) challenge(c *checkresp.Challenge) {
	if p != nil && c != nil {
		c.ResourceMetadata = p.address
	}
}

// answers reports whether the bytes of a CheckResponse are the document.
func (p *published) answers(answer []byte) bool { return p != nil && p.document.Answers(answer) }

// has reports whether the document is what a request is for.
func (p *published) has(r *checkreq.Request) bool {
	return p != nil && strings.HasPrefix(r.Path, wellKnownResource) && slices.Contains(p.paths[:], r.Path) && !r.IsGRPC()
}

// publish concludes a request for the document. It needs no identity, and the policy has no say in it: without the document
// nobody knows where to get a token.
func (c *call) publish() checkresp.Answer {
	document := c.resource.document
	switch {
	case c.request.Method == http.MethodGet || c.request.Method == http.MethodHead:
		c.answer, c.status = checkresp.Direct(document, c.id), http.StatusOK
	case isPreflight(c.request):
		c.answer, c.status = checkresp.DirectPreflight(document, c.id), http.StatusNoContent
	default:
		d := checkresp.Denial{Status: http.StatusMethodNotAllowed, Code: reasonMetadataMethod, Documented: true, Detail: "The resource's metadata can be read, and nothing else."}
		if err := d.Changes.SetHeader("allow", "GET, HEAD"); err != nil { // RFC 9110 s15.5.6
			return c.giveUp(reasonPanic, err)
		}
		return c.deny(resultDenied, reasonMetadataMethod, d)
	}
	c.result, c.reason = resultPublished, reasonMetadata
	return c.answer
}
