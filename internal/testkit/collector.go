package testkit

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector takes spans by OTLP/HTTP, from whoever sends them, and keeps them.
type Collector struct {
	URL     string // of traces
	Address string // host:port

	mu     sync.Mutex
	spans  []CollectedSpan
	header http.Header
	status int
}

// CollectedSpan is a span and the process it came from.
type CollectedSpan struct {
	*tracev1.Span
	Resource map[string]string
}

// Attribute is the value of a string attribute, "" without it.
func (s CollectedSpan) Attribute(key string) string { return texts(s.Attributes)[key] }

// Collect starts a collector on loopback; it ends with the test.
func Collect(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{status: http.StatusOK}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.Address = server.Listener.Addr().(*net.TCPAddr).String()
	c.URL = server.URL + "/v1/traces"
	return c
}

// ServeHTTP takes one export.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	var export tracev1.TracesData
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" ||
		proto.Unmarshal(body, &export) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == http.StatusOK {
		c.header = r.Header
		for _, from := range export.ResourceSpans {
			for _, scope := range from.ScopeSpans {
				for _, span := range scope.Spans {
					c.spans = append(c.spans, CollectedSpan{span, texts(from.Resource.GetAttributes())})
				}
			}
		}
	}
	w.WriteHeader(c.status)
}

// Spans are those collected so far.
func (c *Collector) Spans() []CollectedSpan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]CollectedSpan(nil), c.spans...)
}

// Header is that of the last export.
func (c *Collector) Header() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header
}

// Answer makes the collector answer with a status; with another than 200 it takes nothing.
func (c *Collector) Answer(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

func texts(attributes []*commonv1.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range attributes {
		m[a.Key] = a.Value.GetStringValue()
	}
	return m
}
