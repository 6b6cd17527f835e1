package decide

import (
	"slices"
	"strings"

	"github.com/agentidp/agentidp/internal/policy"
)

// part is one piece of a key: what one path of a read-set stands for, found in the request or the identity without making
// an input. Where a path goes deeper than a part, the part is all of what is around it: that costs hits, never soundness.
type part struct {
	kind     partKind
	name     string          // of a header, an extension, a label
	path     []string        // into metadata
	selector policy.Selector // into the identity's document
}

type partKind uint8

const (
	partMethod partKind = iota + 1
	partTarget
	partHost
	partHostName
	partScheme
	partProtocol
	partSize
	partHeader
	partSegments
	partQuery // as it came: taking it apart would cost more than it saves
	partExtensions
	partExtension
	partMetadata
	partRouteMetadata
	partServerName
	partSource // and the kinds of peerKinds, counted from here
	partSourceAddress
	partSourcePrincipal
	partSourceCertificate
	partSourceService
	partSourceLabels
	partSourceLabel
	partDestination
	partDestinationAddress
	partDestinationPrincipal
	partDestinationCertificate
	partDestinationService
	partDestinationLabels
	partDestinationLabel
	partIdentity
)

// Why a part of the input keeps decisions from being remembered.
const (
	whyWhole   = "which holds the time of the request, its id, its body and all headers: name what is needed instead"
	whyHeaders = "all of them, and most requests carry an id in one: name the headers instead"
	whyUnique  = "which differs in every request"
	whyBody    = "and bodies do not repeat"
	whyUnknown = "which the cache does not know"
)

// uniqueHeaders differ in every request, by what they are for.
var uniqueHeaders = []string{"x-request-id", "traceparent", "b3", "x-b3-traceid", "x-b3-spanid", "dpop", "idempotency-key"}

// Obstacle is what keeps the decisions of a policy from being remembered.
type Obstacle struct {
	Place string // mesh/authz.rego:12; empty when it is not known
	What  string
}

// String is "mesh/authz.rego:12: calls time.now_ns, whose result changes".
func (o Obstacle) String() string {
	if o.Place == "" {
		return o.What
	}
	return o.Place + ": " + o.What
}

// project finds the parts that stand for a read-set, or what cannot be a part.
func project(set policy.ReadSet) (parts []part, obstacles []Obstacle) {
	for _, path := range set.Paths() {
		p, why := partOf(path)
		switch {
		case why != "":
			what := "reads " + strings.Join(append([]string{"input"}, path...), ".") + ", " + why
			obstacles = append(obstacles, Obstacle{set.Where(path...).String(), what})
		case p.kind != 0:
			parts = append(parts, p)
		}
	}
	return parts, obstacles
}

// partOf returns the part for a path, or why there is none. The zero part is for what is always the same.
func partOf(path []string) (part, string) {
	if len(path) == 0 {
		return part{}, whyWhole
	}
	rest := path[1:]
	switch path[0] {
	case "attributes":
		return partOfAttributes(rest)
	case "identity":
		return part{kind: partIdentity, selector: policy.NewSelector(rest...)}, ""
	case "parsed_host":
		return part{kind: partHostName}, ""
	case "parsed_path":
		return part{kind: partSegments}, ""
	case "parsed_query":
		return part{kind: partQuery}, ""
	case "parsed_body", "truncated_body":
		return part{}, whyBody
	case "source_principal":
		return part{kind: partSourcePrincipal}, ""
	case "version":
		return part{}, ""
	}
	return part{}, whyUnknown
}

func partOfAttributes(path []string) (part, string) {
	if len(path) == 0 {
		return part{}, whyWhole
	}
	rest := path[1:]
	switch path[0] {
	case "request":
		return partOfRequest(rest)
	case "source":
		return partOfPeer(rest, partSource)
	case "destination":
		return partOfPeer(rest, partDestination)
	case "contextExtensions":
		return partOfMap(rest, partExtensions, partExtension), ""
	case "metadataContext":
		return partOfMetadata(rest, partMetadata)
	case "routeMetadataContext":
		return partOfMetadata(rest, partRouteMetadata)
	case "tlsSession":
		return part{kind: partServerName}, ""
	}
	return part{}, whyUnknown
}

func partOfRequest(path []string) (part, string) {
	switch {
	case len(path) == 0:
		return part{}, whyWhole
	case path[0] == "time":
		return part{}, whyUnique
	case path[0] != "http":
		return part{}, whyUnknown
	case len(path) == 1:
		return part{}, whyWhole
	}
	switch path[1] {
	case "headers":
		return partOfHeaders(path[2:])
	case "method":
		return part{kind: partMethod}, ""
	case "path":
		return part{kind: partTarget}, ""
	case "host":
		return part{kind: partHost}, ""
	case "scheme":
		return part{kind: partScheme}, ""
	case "protocol":
		return part{kind: partProtocol}, ""
	case "size":
		return part{kind: partSize}, ""
	case "body", "rawBody":
		return part{}, whyBody
	case "id":
		return part{}, whyUnique
	}
	return part{}, whyUnknown
}

func partOfHeaders(path []string) (part, string) {
	switch {
	case len(path) == 0:
		return part{}, whyHeaders
	case slices.Contains(uniqueHeaders, path[0]):
		return part{}, whyUnique
	}
	return part{kind: partHeader, name: path[0]}, ""
}

func partOfPeer(path []string, whole partKind) (part, string) {
	if len(path) == 0 {
		return part{kind: whole}, ""
	}
	offset := whole - partSource
	switch path[0] {
	case "address":
		return part{kind: partSourceAddress + offset}, ""
	case "principal":
		return part{kind: partSourcePrincipal + offset}, ""
	case "certificate":
		return part{kind: partSourceCertificate + offset}, ""
	case "service":
		return part{kind: partSourceService + offset}, ""
	case "labels":
		return partOfMap(path[1:], partSourceLabels+offset, partSourceLabel+offset), ""
	}
	return part{}, whyUnknown
}

// partOfMetadata takes paths into filterMetadata; there is nothing else in the input.
func partOfMetadata(path []string, kind partKind) (part, string) {
	switch {
	case len(path) == 0:
		return part{kind: kind}, ""
	case path[0] != "filterMetadata":
		return part{}, whyUnknown
	}
	return part{kind: kind, path: path[1:]}, ""
}

func partOfMap(path []string, whole, one partKind) part {
	if len(path) == 0 {
		return part{kind: whole}
	}
	return part{kind: one, name: path[0]}
}
