package extauthz_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

// sawPolicy allows everything, and lets the service know what it was shown. Whatever it would have denied, the shipped rules of Envoy and
// checkreq have refused before.
const sawPolicy = `package agentidp.authz

allow := {"allowed": true, "headers": {
	"x-saw-target": input.attributes.request.http.path,
	"x-saw-segments": base64.encode(json.marshal(input.parsed_path)),
}}
`

// parser is a service that reports how it reads the requests it gets.
type parser struct {
	name string // also the host that leads to it
	read func(a rawhttp.Answer) reading
}

// reading is one request as a service reads it, and what the policy was shown of it.
type reading struct {
	Target, SawTarget, SawSegments string

	// Path is the target without query after everything this parser does to paths. Decoded says that escapes are among it.
	Path    string
	Decoded bool
}

// startParsers starts three servers that each read paths in a way of their own, and an edge in front of all of them.
func startParsers(t *testing.T) (*edge, []parser) {
	t.Helper()
	nginx := testkit.Nginx(t, `large_client_header_buffers 4 64k;
    location / { return 200 "$request_uri\n$uri\n$http_x_saw_target\n$http_x_saw_segments"; }`)
	second := testkit.Envoy(t, []byte(envoyParser)).Listener(t, "parser")
	e := newEdge(t, "")
	e.write(t, "policies/authz.rego", sawPolicy)
	goServer := serveGo(t)
	e.startHere(t)
	e.startEnvoy(t, func(doc string) string {
		doc = replaceOnce(t, doc, "                  virtual_hosts:\n", "                  virtual_hosts:\n"+virtualHost("nginx")+virtualHost("envoy")+virtualHost("go"))
		host, port, err := net.SplitHostPort(second)
		if err != nil {
			t.Fatal(err)
		}
		goHost, goPort, err := net.SplitHostPort(goServer)
		if err != nil {
			t.Fatal(err)
		}
		return replaceOnce(t, doc, "  clusters:\n", "  clusters:\n"+
			cluster("nginx", fmt.Sprintf("pipe: { path: %q }", nginx))+
			cluster("envoy", fmt.Sprintf("socket_address: { address: %s, port_value: %s }", host, port))+
			cluster("go", fmt.Sprintf("socket_address: { address: %s, port_value: %s }", goHost, goPort)))
	})
	return e, []parser{
		{"go", readGo},
		{"nginx", func(a rawhttp.Answer) reading {
			lines := strings.SplitN(a.Body+"\n\n\n", "\n", 5)
			return reading{Target: lines[0], Path: lines[1], Decoded: true, SawTarget: lines[2], SawSegments: lines[3]}
		}},
		{"envoy", func(a rawhttp.Answer) reading {
			path, _, _ := strings.Cut(a.Header.Get("X-Read"), "?")
			return reading{Target: a.Header.Get("X-Read"), Path: path, SawTarget: a.Header.Get("X-Seen-Target"), SawSegments: a.Header.Get("X-Seen-Segments")}
		}},
	}
}

func virtualHost(name string) string {
	return fmt.Sprintf("                    - { name: %[1]s, domains: [%[1]s.example], routes: [{ match: { prefix: \"/\" }, route: { cluster: %[1]s } }] }\n", name)
}

func cluster(name, address string) string {
	return fmt.Sprintf("    - { name: %[1]s, type: STATIC, load_assignment: { cluster_name: %[1]s, endpoints: [{ lb_endpoints: [{ endpoint: { address: { %[2]s } } }] }] } }\n", name, address)
}

// envoyParser is an Envoy that does to a path all that Envoy can do, unescaping slashes included, and answers with what came of it.
const envoyParser = `
static_resources:
  listeners:
    - name: parser
      address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: parser
                normalize_path: true
                merge_slashes: true
                path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{ match: { prefix: "/" }, direct_response: { status: 200 } }]
                  response_headers_to_add:
                    - { header: { key: x-read, value: "%REQ(:PATH)%" } }
                    - { header: { key: x-seen-target, value: "%REQ(X-SAW-TARGET)%" } }
                    - { header: { key: x-seen-segments, value: "%REQ(X-SAW-SEGMENTS)%" } }
`

// serveGo is a net/http server whose mux redirects paths it finds unclean, as most Go services would.
func serveGo(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		doc, err := json.Marshal(reading{
			Target: r.RequestURI, Path: r.URL.Path, Decoded: true, SawTarget: r.Header.Get("X-Saw-Target"), SawSegments: r.Header.Get("X-Saw-Segments"),
		})
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(doc)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: edgeWait}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return l.Addr().String()
}

func readGo(a rawhttp.Answer) (r reading) {
	if json.Unmarshal([]byte(a.Body), &r) != nil {
		return reading{Path: a.Body} // an answer of the mux, such as a redirect
	}
	return r
}

// disagreement is what is wrong with a reading, if anything is.
func (r reading) disagreement() string {
	sawPath, _, _ := strings.Cut(r.SawTarget, "?")
	if r.Target == "" || r.Target != r.SawTarget {
		return fmt.Sprintf("got the target %q, the policy saw %q", r.Target, r.SawTarget)
	}
	if !r.Decoded {
		if r.Path != sawPath {
			return fmt.Sprintf("reads the path as %q, the policy as %q", r.Path, sawPath)
		}
		return ""
	}
	var segments []string
	text, err := base64.StdEncoding.DecodeString(r.SawSegments)
	if err == nil {
		err = json.Unmarshal(text, &segments)
	}
	if err != nil {
		return fmt.Sprintf("was not told what the policy saw: %v", err)
	}
	if decoded := "/" + strings.Join(segments, "/"); r.Path != decoded {
		return fmt.Sprintf("reads the path as %q, the policy as %q", r.Path, decoded)
	}
	return ""
}
