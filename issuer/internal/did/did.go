// Package did names agents by decentralized identifiers of the did:web method: an agent's DID is the place where its document is served.
package did

import (
	"errors"
	"net/url"
	"strings"

	"github.com/agentidp/agentidp/internal/agentid"
)

// Namespace makes the DIDs of one issuer.
type Namespace struct{ prefix string }

// NewNamespace derives the namespace from the issuer's URL. A port is percent-encoded (did:web s3.1: the colon separates path segments);
// an agent's document is at https://host:port/agents/{id}/did.json.
func NewNamespace(issuer *url.URL) (Namespace, error) {
	if issuer.Scheme != "https" || issuer.Hostname() == "" || issuer.Path != "" {
		return Namespace{}, errors.New("did:web needs an https issuer without a path")
	}
	host := strings.ToLower(issuer.Hostname())
	if strings.Contains(host, ":") {
		return Namespace{}, errors.New("did:web does not allow IPv6 addresses as host")
	}
	if port := issuer.Port(); port != "" {
		host += "%3A" + port
	}
	return Namespace{prefix: "did:web:" + host}, nil
}

// Agent is the DID of an agent: did:web:localhost%3A8443:agents:agt_….
func (n Namespace) Agent(id agentid.Agent) string { return n.prefix + ":agents:" + id.String() }
