package decide

import (
	"encoding/base64"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/internal/policy"
)

// Masked is what a policy and a decision log see in place of a credential.
const Masked = "[masked]"

// version tells policies which form the input has. The plugin's encoding says protojson; policies compare it.
var version = policy.Object(
	policy.Member{Name: "ext_authz", Value: policy.String("v3")},
	policy.Member{Name: "encoding", Value: policy.String("protojson")},
)

// Input builds the input document. It fails for a body that does not parse (a refusal), and for metadata of Envoy that
// a policy cannot be shown.
func Input(s Subject) (policy.Value, *checkreq.Refusal, error) {
	r := s.Request
	body, truncated, refusal := parseBody(r)
	if refusal != nil {
		return nil, refusal, nil
	}
	metadata, err := metadataDocument(r.Metadata)
	if err != nil {
		return nil, nil, err
	}
	routeMetadata, err := metadataDocument(r.RouteMetadata)
	if err != nil {
		return nil, nil, err
	}
	var who policy.Value
	if s.Identity != nil {
		who = s.Identity.Document()
	}
	attributes := policy.Object(
		policy.Member{Name: "source", Value: peerDocument(&r.Source)},
		policy.Member{Name: "destination", Value: peerDocument(&r.Destination)},
		policy.Member{Name: "request", Value: policy.Object(
			policy.Member{Name: "time", Value: timeDocument(r)},
			policy.Member{Name: "http", Value: httpDocument(r, s.ShowAuth)},
		)},
		policy.Member{Name: "contextExtensions", Value: textsDocument(r.Extensions)},
		policy.Member{Name: "metadataContext", Value: metadata},
		policy.Member{Name: "routeMetadataContext", Value: routeMetadata},
		policy.Member{Name: "tlsSession", Value: sessionDocument(r.SNI)},
	)
	return policy.Object(
		policy.Member{Name: "attributes", Value: attributes},
		policy.Member{Name: "parsed_path", Value: policy.Strings(r.Segments)},
		policy.Member{Name: "parsed_query", Value: queryDocument(r.Parameters)},
		policy.Member{Name: "parsed_body", Value: body},
		policy.Member{Name: "truncated_body", Value: policy.Bool(truncated)},
		policy.Member{Name: "source_principal", Value: optional(r.Source.Principal)},
		policy.Member{Name: "version", Value: version},
		policy.Member{Name: "identity", Value: who},
	), nil, nil
}

func httpDocument(r *checkreq.Request, showAuth bool) policy.Value {
	headers := make([]policy.Member, 0, len(r.Headers))
	r.Headers.Joined(func(name, value string) {
		if !showAuth && name == "authorization" {
			value = Mask(value)
		}
		headers = append(headers, policy.Member{Name: name, Value: policy.String(value)})
	})
	var body, rawBody policy.Value
	switch {
	case len(r.Body) == 0:
	case r.Raw:
		rawBody = policy.String(base64.StdEncoding.EncodeToString(r.Body))
	default:
		body = policy.String(string(r.Body))
	}
	var size policy.Value
	if r.Size != 0 {
		size = policy.Int(r.Size)
	}
	return policy.Object(
		policy.Member{Name: "id", Value: optional(r.ID)},
		policy.Member{Name: "method", Value: optional(r.Method)},
		policy.Member{Name: "headers", Value: policy.Object(headers...)},
		policy.Member{Name: "path", Value: optional(r.Target)},
		policy.Member{Name: "host", Value: optional(r.Host)},
		policy.Member{Name: "scheme", Value: optional(r.Scheme)},
		policy.Member{Name: "size", Value: size},
		policy.Member{Name: "protocol", Value: optional(r.Protocol)},
		policy.Member{Name: "body", Value: body},
		policy.Member{Name: "rawBody", Value: rawBody},
	)
}

// Mask hides a credential and keeps its scheme when it has one: "Bearer [masked]".
func Mask(authorization string) string {
	scheme, _, ok := strings.Cut(authorization, " ")
	if !ok || len(scheme) > 16 {
		return Masked
	}
	return scheme + " " + Masked
}

func timeDocument(r *checkreq.Request) policy.Value {
	if r.Time.IsZero() {
		return nil
	}
	var seconds, nanos policy.Value
	if s := r.Time.Unix(); s != 0 {
		seconds = policy.Int(s)
	}
	if n := r.Time.Nanosecond(); n != 0 {
		nanos = policy.Int(int64(n))
	}
	return policy.Object(policy.Member{Name: "seconds", Value: seconds}, policy.Member{Name: "nanos", Value: nanos})
}

func peerDocument(p *checkreq.Peer) policy.Value {
	var address policy.Value
	switch {
	case p.IP != "" || p.Port != 0:
		var port policy.Value
		if p.Port != 0 {
			port = policy.Int(int64(p.Port))
		}
		address = policy.Object(policy.Member{Name: "socketAddress", Value: policy.Object(
			policy.Member{Name: "address", Value: optional(p.IP)},
			policy.Member{Name: "portValue", Value: port},
		)})
	case p.Pipe != "":
		address = policy.Object(policy.Member{Name: "pipe", Value: policy.Object(policy.Member{Name: "path", Value: policy.String(p.Pipe)})})
	}
	return policy.Object(
		policy.Member{Name: "address", Value: address},
		policy.Member{Name: "service", Value: optional(p.Service)},
		policy.Member{Name: "labels", Value: textsDocument(p.Labels)},
		policy.Member{Name: "principal", Value: optional(p.Principal)},
		policy.Member{Name: "certificate", Value: optional(p.Certificate)},
	)
}

func sessionDocument(sni string) policy.Value {
	if sni == "" {
		return nil
	}
	return policy.Object(policy.Member{Name: "sni", Value: policy.String(sni)})
}

func metadataDocument(tree map[string]any) (policy.Value, error) {
	if tree == nil {
		return nil, nil
	}
	filters, err := policy.FromAny(tree)
	if err != nil {
		return nil, err
	}
	if len(tree) == 0 {
		filters = nil
	}
	return policy.Object(policy.Member{Name: "filterMetadata", Value: filters}), nil
}

func queryDocument(parameters map[string][]string) policy.Value {
	members := make([]policy.Member, 0, len(parameters))
	for name, values := range parameters {
		members = append(members, policy.Member{Name: name, Value: policy.Strings(values)})
	}
	return policy.Object(members...)
}

// textsDocument is nil for an empty map: what Envoy did not set is absent.
func textsDocument(m map[string]string) policy.Value {
	if len(m) == 0 {
		return nil
	}
	members := make([]policy.Member, 0, len(m))
	for name, value := range m {
		members = append(members, policy.Member{Name: name, Value: policy.String(value)})
	}
	return policy.Object(members...)
}

func optional(s string) policy.Value {
	if s == "" {
		return nil
	}
	return policy.String(s)
}
