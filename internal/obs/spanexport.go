package obs

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/internal/fetch"
)

// How often a batch is tried, and how long between.
const (
	exportAttemptsMax   = 5 // about three seconds with the pauses between them; spans wait meanwhile, and the queue is bounded
	exportPauseMin      = 200 * time.Millisecond
	exportRetryAfterMax = 10 * time.Second // of what a collector may ask for
)

// Names in what is exported.
const (
	tracerScope = "github.com/agentidp/agentidp"
	schemaURL   = "https://opentelemetry.io/schemas/1.45.0" // the semantic conventions our attribute names are from
)

// poster sends a document; *fetch.Client is one.
type poster interface {
	Post(ctx context.Context, url string, header http.Header, body []byte) error
}

// spanExport sends batches by OTLP/HTTP with binary protobuf (OTLP specification 1.x, "OTLP/HTTP"). Only one goroutine uses it.
type spanExport struct {
	client   poster
	url      string
	header   http.Header
	resource *resourcev1.Resource
	version  string
	log      *slog.Logger
	wait     time.Duration // from the first span of a batch to its export
	pauseMin time.Duration // tests retry faster
	failing  bool
}

// send delivers a batch whole or not at all; then it returns why. An answer that says a part was rejected counts as delivery.
func (e *spanExport) send(ctx context.Context, batch []*tracev1.Span) *dropCause {
	lost := func(c dropCause) *dropCause { return &c }
	// ExportTraceServiceRequest has the same encoding, and its package brings a gRPC gateway.
	body, err := proto.Marshal(&tracev1.TracesData{ResourceSpans: []*tracev1.ResourceSpans{{
		Resource: e.resource, SchemaUrl: schemaURL,
		ScopeSpans: []*tracev1.ScopeSpans{{Scope: &commonv1.InstrumentationScope{Name: tracerScope, Version: e.version}, Spans: batch}},
	}}})
	if err != nil {
		e.report(ctx, err)
		return lost(dropRejected)
	}
	pause := e.pauseMin
	for attempt := 1; ; attempt++ {
		err := e.client.Post(ctx, e.url, e.header, body)
		if ctx.Err() != nil && err != nil {
			return lost(dropShutdown)
		}
		e.report(ctx, err)
		if err == nil {
			return nil
		}
		wait := pause/2 + rand.N(pause) // so that sidecars do not come back all at once
		var status *fetch.StatusError
		if errors.As(err, &status) {
			if !isRetryable(status.Code) {
				return lost(dropRejected)
			}
			wait = max(wait, min(status.RetryAfter, exportRetryAfterMax))
		}
		if attempt == exportAttemptsMax {
			return lost(dropFailed)
		}
		pause *= 2
		retry := time.NewTimer(wait)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return lost(dropShutdown)
		}
	}
}

// isRetryable lists the statuses after which the same batch may be sent again; after all others it must not be (OTLP specification,
// "Retryable Response Codes").
func isRetryable(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// report logs when exports begin to fail and when they succeed again; what is lost in between is in the metrics.
func (e *spanExport) report(ctx context.Context, err error) {
	switch {
	case err != nil && !e.failing:
		e.log.WarnContext(ctx, "tracing: the collector does not take spans", "url", e.url, "err", err)
	case err == nil && e.failing:
		e.log.InfoContext(ctx, "tracing: the collector is well again", "url", e.url)
	}
	e.failing = err != nil
}
