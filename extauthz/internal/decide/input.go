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

// Input builds the input document: all of it, or as much as the policy reads. Objects the policy reads from are there
// even when what it reads in them is not. It fails for a body that does not parse (a refusal) if the policy reads bodies,
// for one that was cut off if the policy cannot tell that from none, and for metadata of Envoy that a policy cannot be
// shown. Whoever answers without building the input (a cache) must refuse the same bodies.
func Input(s Subject) (policy.Value, *checkreq.Refusal, error) {
	members := make([]policy.Member, 0, 9)
	add := func(name string, v policy.Value) { members = append(members, policy.Member{Name: name, Value: v}) }
	if !s.SkipBody && (s.reads("parsed_body") || s.reads("truncated_body")) {
		body, truncated, refusal := parseBody(s.Request, s.Descriptors)
		switch {
		case refusal != nil:
			return nil, refusal, nil
		case truncated && !s.reads("truncated_body"):
			return nil, &checkreq.Refusal{Reason: checkreq.ReasonBody, Detail: "the body was cut off, and the policy does not look at truncated_body"}, nil
		}
		add("parsed_body", body)
		add("truncated_body", policy.Bool(truncated))
	}
	if s.reads("attributes") {
		attributes, err := s.attributes()
		if err != nil {
			return nil, nil, err
		}
		add("attributes", attributes)
	}
	if s.reads("parsed_host") {
		add("parsed_host", optional(s.Request.HostName))
	}
	if s.reads("parsed_path") {
		add("parsed_path", policy.Strings(s.Request.Segments))
	}
	if s.reads("parsed_query") {
		add("parsed_query", queryDocument(s.Request.Parameters()))
	}
	if s.Identity != nil {
		add("identity", s.Identity.Document().Value())
	}
	add("source_principal", optional(s.Request.Source.Principal))
	add("version", version)
	return policy.Object(members...), nil, nil
}

func (s *Subject) attributes() (policy.Value, error) {
	r := s.Request
	members := make([]policy.Member, 0, 7)
	add := func(name string, v policy.Value) { members = append(members, policy.Member{Name: name, Value: v}) }
	if s.reads("attributes", "source") {
		add("source", peerDocument(&r.Source))
	}
	if s.reads("attributes", "destination") {
		add("destination", peerDocument(&r.Destination))
	}
	if s.reads("attributes", "request") {
		request := policy.Member{Name: "http"}
		if s.reads("attributes", "request", "http") {
			request.Value = s.http()
		}
		add("request", policy.Object(policy.Member{Name: "time", Value: timeDocument(r)}, request))
	}
	if s.reads("attributes", "contextExtensions") {
		add("contextExtensions", textsDocument(r.Extensions))
	}
	for _, m := range [...]struct {
		name string
		tree map[string]any
	}{{"metadataContext", r.Metadata}, {"routeMetadataContext", r.RouteMetadata}} {
		if m.tree == nil || !s.reads("attributes", m.name) {
			continue
		}
		document, err := metadataDocument(m.tree)
		if err != nil {
			return nil, err
		}
		add(m.name, document)
	}
	add("tlsSession", sessionDocument(r.SNI))
	return policy.Object(members...), nil
}

func (s *Subject) http() policy.Value {
	r := s.Request
	var headers, body, rawBody, size policy.Value
	if s.reads("attributes", "request", "http", "headers") {
		headers = s.headers()
	}
	switch {
	case len(r.Body) == 0:
	case r.Raw:
		if s.reads("attributes", "request", "http", "rawBody") {
			rawBody = policy.String(base64.StdEncoding.EncodeToString(r.Body))
		}
	case s.reads("attributes", "request", "http", "body"):
		body = policy.String(string(r.Body))
	}
	if r.Size != 0 {
		size = policy.Int(r.Size)
	}
	return policy.Object(
		policy.Member{Name: "id", Value: optional(r.ID)},
		policy.Member{Name: "method", Value: optional(r.Method)},
		policy.Member{Name: "headers", Value: headers},
		policy.Member{Name: "path", Value: optional(r.Target)},
		policy.Member{Name: "host", Value: optional(r.Host)},
		policy.Member{Name: "scheme", Value: optional(r.Scheme)},
		policy.Member{Name: "size", Value: size},
		policy.Member{Name: "protocol", Value: optional(r.Protocol)},
		policy.Member{Name: "body", Value: body},
		policy.Member{Name: "rawBody", Value: rawBody},
	)
}

func (s *Subject) headers() policy.Value {
	members := make([]policy.Member, 0, len(s.Request.Headers))
	s.Request.Headers.Joined(func(name, value string) {
		if !s.reads("attributes", "request", "http", "headers", name) {
			return
		}
		if !s.ShowAuth && name == "authorization" {
			value = Mask(value)
		}
		members = append(members, policy.Member{Name: name, Value: policy.String(value)})
	})
	return policy.Object(members...)
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
