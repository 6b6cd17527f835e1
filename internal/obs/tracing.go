package obs

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/fetch"
)

// Tracing is the section of a configuration file that says where spans go and which traces are recorded. Without it nothing is.
type Tracing struct {
	// Endpoint is the URL of an OTLP/HTTP collector; /v1/traces is added to one without a path.
	Endpoint string                   `yaml:"endpoint"`
	CA       config.Path              `yaml:"ca"`      // roots for the endpoint beside the system's
	Headers  map[string]config.Secret `yaml:"headers"` // sent with each export
	Sampler  Sampler                  `yaml:"sampler"`
	// Ratio is the share of traces that is recorded where the parent does not decide.
	Ratio float64 `yaml:"ratio"`
	// Resource are attributes of the process beside, or in place of, our own.
	Resource map[string]string `yaml:"resource"`
}

// Sampler says who decides whether a trace is recorded.
type Sampler string

const (
	SamplerParent Sampler = "parent" // whoever calls us; the ratio where nobody says
	SamplerRatio  Sampler = "ratio"  // the ratio alone, by trace id
)

// Limits of the section; docs/limits.md lists them for operators.
const (
	ratioDefault        = 1
	exportHeadersMax    = 16
	exportHeaderBytes   = 4 << 10
	resourceMax         = 64
	resourceKeyBytesMax = 128
	tracesPath          = "/v1/traces" // OTLP specification, "OTLP/HTTP Request"
)

// ownHeaders are set by the exporter, or say how the body is sent.
var ownHeaders = []string{"Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Host", "User-Agent", "Connection"}

// SetDefaults implements the defaults of the config file.
func (t *Tracing) SetDefaults() { t.Sampler, t.Ratio = SamplerParent, ratioDefault }

// Validate reports what is wrong in the section, which stands at field. It opens no socket.
func (t *Tracing) Validate(r *config.Report, field string) {
	t.validateEndpoint(r, field)
	if len(t.Headers) > exportHeadersMax {
		r.Errorf(field+".headers", "has %d headers, at most %d are accepted", len(t.Headers), exportHeadersMax)
	}
	for name, value := range t.Headers {
		at := field + ".headers." + name
		switch {
		case !isHeaderName(name):
			r.Errorf(at, "want the name of a header, such as authorization")
		case slices.Contains(ownHeaders, textproto.CanonicalMIMEHeaderKey(name)):
			r.Errorf(at, "is set by the exporter itself")
		case len(value.Reveal()) > exportHeaderBytes || strings.ContainsFunc(value.Reveal(), isNoHeaderByte):
			r.Errorf(at, "want at most %d bytes of visible ASCII and spaces", exportHeaderBytes)
		}
	}
	if t.Sampler != SamplerParent && t.Sampler != SamplerRatio {
		r.Errorf(field+".sampler", "want parent or ratio")
	}
	if !(t.Ratio >= 0 && t.Ratio <= 1) { // NaN is neither
		r.Errorf(field+".ratio", "want a number from 0 (no trace is recorded) to 1 (all are)")
	}
	if len(t.Resource) > resourceMax {
		r.Errorf(field+".resource", "has %d attributes, at most %d are accepted", len(t.Resource), resourceMax)
	}
	for key, value := range t.Resource {
		if key == "" || len(key) > resourceKeyBytesMax || strings.ContainsFunc(key, isNoKeyByte) {
			r.Errorf(field+".resource", "%q: want a name such as deployment.environment.name", key)
		}
		if value == "" || text(value) != value {
			r.Errorf(field+".resource."+key, "want a text of 1 to %d bytes", attributeBytesMax)
		}
	}
}

func (t *Tracing) validateEndpoint(r *config.Report, field string) {
	if t.Endpoint == "" {
		r.Errorf(field+".endpoint", "is required: the URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318")
		return
	}
	client, err := t.client()
	if err != nil {
		r.Errorf(field+".ca", "%v", err)
		return
	}
	if err := client.CheckURL(t.Endpoint); err != nil {
		r.Errorf(field+".endpoint", "%v", err)
	}
}

// client allows what operators write: private addresses, and plaintext to this machine.
func (t *Tracing) client() (*fetch.Client, error) {
	return fetch.New(fetch.Config{CAFile: string(t.CA), ContentTypes: []string{"application/x-protobuf"}, AllowPrivate: true, AllowPlaintext: true})
}

func (t *Tracing) url() string {
	u, err := url.Parse(t.Endpoint)
	if err != nil || u.Path != "" && u.Path != "/" {
		return t.Endpoint
	}
	u.Path = tracesPath
	return u.String()
}

func (t *Tracing) header() http.Header {
	h := http.Header{}
	for name, value := range t.Headers {
		h.Set(name, value.Reveal())
	}
	h.Set("Content-Type", "application/x-protobuf")
	return h
}

// isHeaderName: a token (RFC 9110 s5.1).
func isHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func isNoHeaderByte(r rune) bool { return r < ' ' || r > '~' }

func isNoKeyByte(r rune) bool { return r <= ' ' || r > '~' }
