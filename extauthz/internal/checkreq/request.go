package checkreq

import "time"

// Request is an HTTP request as Envoy is about to forward it. It is never changed after Parse returned it, but by Withhold. All its strings
// are parts of one: whoever keeps one of them longer than the Request should clone it.
type Request struct {
	ID       string // Envoy's, usually x-request-id; may be empty
	Method   string
	Scheme   string
	Host     string // as received; may be empty
	HostName string // the name or address in Host in its one spelling, without the port
	Protocol string
	Target   string   // path and query as received: what the upstream gets
	Path     string   // Target without query; starts with "/"
	Query    string   // Target after "?"
	Segments []string // Path split at "/", each segment decoded once; "/" is one empty segment
	Headers  Headers
	Strip    []string // client headers that must not reach the upstream; they are not in Headers
	Size     int64    // as Envoy counts it; -1 when unknown
	Body     []byte   // as far as Envoy sent it; empty unless Envoy is told to send bodies
	Raw      bool     // the body came as bytes, not as text
	Partial  bool     // Body was cut off
	Time     time.Time

	Source, Destination Peer

	Extensions    map[string]string // context extensions of the route
	Metadata      map[string]any    // filter metadata by filter name, as JSON-like values; nil when Envoy sent none
	RouteMetadata map[string]any
	SNI           string
}

// Withhold keeps a header from the upstream which the policy may see. It is for whoever has the Request from Parse, before
// anybody else has it.
func (r *Request) Withhold(name string) { r.Strip = append(r.Strip, name) }

// Peer is one end of the connection.
type Peer struct {
	Principal   string // from the TLS certificate, proved by the handshake
	Certificate string // URL-encoded PEM, when Envoy is told to send it
	Service     string
	Labels      map[string]string
	IP          string // of a socket address
	Port        uint32
	Pipe        string // path of a unix socket, instead of IP and Port
}

// IsGRPC reports whether the client speaks gRPC: it reads trailers and statuses, not bodies.
func (r *Request) IsGRPC() bool {
	t, _ := r.Headers.Get("content-type")
	const grpc = "application/grpc"
	return len(t) >= len(grpc) && t[:len(grpc)] == grpc && (len(t) == len(grpc) || t[len(grpc)] == '+' || t[len(grpc)] == ';')
}
