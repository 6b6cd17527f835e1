package decisionlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/fetch"
)

// Limits of what goes to a log service.
const (
	httpLinesMax    = 1000        // in one request
	httpBytesMax    = 1 << 20     // about, before compression, for the same
	httpWaitDefault = time.Second // from the first line of a batch to its request
	attemptsMax     = 10          // for one batch, about half a minute with the pauses between them
	pauseMin        = 100 * time.Millisecond
	pauseMax        = 10 * time.Second
	retryAfterMax   = 30 * time.Second // of what a service may ask for
)

// Poster sends a document; *fetch.Client is one.
type Poster interface {
	Post(ctx context.Context, url string, header http.Header, body []byte) error
}

// HTTP is a sink that sends gzipped JSON arrays to a log service, as OPA does (POST …/logs). A batch is sent again until the
// service takes it, refuses it, or ten attempts have failed; a service that answers late may so get a batch twice, and tells
// by decision_id. Meanwhile records wait in the log's queue, which is bounded.
type HTTP struct {
	client   Poster
	url      string
	header   http.Header
	log      *slog.Logger
	wait     time.Duration
	pauseMin time.Duration // tests retry faster
	failing  bool

	body   bytes.Buffer
	packer *gzip.Writer
}

// NewHTTP makes the sink. bearer, when not empty, is sent as Authorization; wait is how long lines are collected, 0 for one second.
func NewHTTP(client Poster, url, bearer string, wait time.Duration, log *slog.Logger) *HTTP {
	if wait <= 0 {
		wait = httpWaitDefault
	}
	header := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	if bearer != "" {
		header.Set("Authorization", "Bearer "+bearer)
	}
	h := &HTTP{client: client, url: url, header: header, log: log, wait: wait, pauseMin: pauseMin}
	h.packer = gzip.NewWriter(&h.body)
	return h
}

// Batch implements Sink.
func (h *HTTP) Batch() Batch { return Batch{Lines: httpLinesMax, Bytes: httpBytesMax, Wait: h.wait} }

// Send implements Sink: a batch is delivered whole or not at all.
func (h *HTTP) Send(ctx context.Context, lines [][]byte) (int, Cause) {
	body := h.pack(lines)
	pause := h.pauseMin
	for attempt := 1; ; attempt++ {
		err := h.client.Post(ctx, h.url, h.header, body)
		if err == nil {
			h.report(ctx, nil, "")
			return len(lines), ""
		}
		wait := pause/2 + rand.N(pause) // so that sidecars do not come back all at once
		var status *fetch.StatusError
		if errors.As(err, &status) {
			if !isTemporary(status.Code) {
				h.report(ctx, err, CauseRejected)
				return 0, CauseRejected
			}
			wait = max(wait, min(status.RetryAfter, retryAfterMax))
		}
		switch {
		case ctx.Err() != nil:
			return 0, CauseShutdown
		case attempt == attemptsMax:
			h.report(ctx, err, CauseFailed)
			return 0, CauseFailed
		}
		h.report(ctx, err, "")
		pause = min(2*pause, pauseMax)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, CauseShutdown
		}
	}
}

// report logs when deliveries begin to fail and when they succeed again, and every batch that is lost.
func (h *HTTP) report(ctx context.Context, err error, lost Cause) {
	switch {
	case lost != "":
		h.log.ErrorContext(ctx, "decision log: a batch is lost", "url", h.url, "cause", string(lost), "err", err)
	case err != nil && !h.failing:
		h.log.WarnContext(ctx, "decision log: the log service does not take a batch, trying again", "url", h.url, "err", err)
	case err == nil && h.failing:
		h.log.InfoContext(ctx, "decision log: the log service is well again", "url", h.url)
	}
	h.failing = err != nil
}

// isTemporary reports whether the same request may be answered better later.
func isTemporary(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// pack returns the lines as a gzipped JSON array; it is good until the next call.
func (h *HTTP) pack(lines [][]byte) []byte {
	h.body.Reset()
	h.packer.Reset(&h.body)
	separator := []byte{'['}
	for _, line := range lines {
		_, _ = h.packer.Write(separator) // a buffer takes everything
		_, _ = h.packer.Write(line)
		separator[0] = ','
	}
	_, _ = h.packer.Write([]byte{']'})
	_ = h.packer.Close()
	return h.body.Bytes()
}
