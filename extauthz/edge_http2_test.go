package extauthz_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

// over2 are the fields of a good GET by HTTP/2, changed: name, value, name, value … replaces a pseudo field, or adds a field at the end. A
// pseudo field set to "-" is left out, one after "+" comes a second time.
func over2(bearer string, changes ...string) []string {
	pseudo := []string{":method", "GET", ":scheme", "http", ":authority", "service.example", ":path", "/orders/1"}
	more := []string{"authorization", strings.TrimPrefix(bearer, "Authorization: ")}
	for i := 0; i < len(changes); i += 2 {
		at := slices.Index(pseudo, changes[i])
		second, again := strings.CutPrefix(changes[i], "+")
		switch {
		case again:
			pseudo = append(pseudo, second, changes[i+1])
		case at >= 0 && at%2 == 0 && changes[i+1] == "-":
			pseudo = slices.Delete(pseudo, at, at+2)
		case at >= 0 && at%2 == 0:
			pseudo[at+1] = changes[i+1]
		default:
			more = append(more, changes[i], changes[i+1])
		}
	}
	return append(pseudo, more...)
}

// HTTP/2 fields are lengths and bytes: what would end a line in HTTP/1.1 is only a byte here, until somebody writes it into a line.
func TestEdgeOverHTTP2(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	e.startHere(t)
	e.startEnvoy(t, func(doc string) string { // Envoy waits a second before it closes a connection it has given up
		return replaceOnce(t, doc, "                stream_idle_timeout: 60s\n", "                stream_idle_timeout: 60s\n                delayed_close_timeout: 0.02s\n")
	})
	bearer := e.bearer(t)
	e.await(t, http.StatusOK, "/orders/warm", bearer)
	if a := rawhttp.Send2(t, e.address, over2(bearer), nil); a.Status != http.StatusOK || !slices.Equal(e.service.Values("x-agent-id"), []string{"agt_1"}) {
		t.Fatalf("a good request: %+v, the service got %q", a, e.service.Got())
	}
	for name, tc := range map[string]struct{ changes, trailers []string }{
		"identity header":             {changes: []string{"x-agent-id", "forged"}},
		"identity header, twice":      {changes: []string{"x-agent-id", "forged", "x-agent-id", "forged"}},
		"identity header, empty":      {changes: []string{"x-agent-id", ""}},
		"identity header, upper case": {changes: []string{"X-Agent-Id", "forged"}},
		"identity header, underscore": {changes: []string{"x_agent_id", "forged"}},
		"identity header, spaced":     {changes: []string{"x-agent-id ", "forged"}},
		"identity header, colon":      {changes: []string{"x-agent-id:", "forged"}},
		"identity header, in a name":  {changes: []string{"x-odd: 1\r\nx-agent-id", "forged"}},
		"identity header, in a value": {changes: []string{"x-odd", "1\r\nx-agent-id: forged"}},
		"identity header, after LF":   {changes: []string{"x-odd", "1\nx-agent-id: forged"}},
		"identity header, after CR":   {changes: []string{"x-odd", "1\rx-agent-id: forged"}},
		"identity header, after NUL":  {changes: []string{"x-odd", "1\x00x-agent-id: forged"}},
		"identity header, as trailer": {trailers: []string{"x-agent-id", "forged"}},
		"announced as trailer":        {changes: []string{"trailer", "x-agent-id"}, trailers: []string{"x-agent-id", "forged"}},
		"token as trailer":            {trailers: []string{"authorization", "Bearer forged"}},
		"pseudo field as trailer":     {trailers: []string{":path", "/admin"}},
		"connection":                  {changes: []string{"connection", "x-agent-id"}},
		"two tokens":                  {changes: []string{"authorization", "Bearer forged"}},
		"two paths":                   {changes: []string{"+:path", "/admin"}},
		"two methods":                 {changes: []string{"+:method", "POST"}},
		"two authorities":             {changes: []string{"+:authority", "admin.example"}},
		"a pseudo field at the end":   {changes: []string{":agent-path", "/admin"}},
		"host beside authority":       {changes: []string{"host", "admin.example"}},
		"user in authority":           {changes: []string{":authority", "admin@service.example"}},
		"line in authority":           {changes: []string{":authority", "a\r\nx-agent-id: forged"}},
		"line in path":                {changes: []string{":path", "/orders/1 HTTP/1.1\r\nx-agent-id: forged\r\nx-odd: "}},
		"space in path":               {changes: []string{":path", "/orders/1 HTTP/1.1"}},
		"line in method":              {changes: []string{":method", "GET /admin HTTP/1.1\r\nx-odd: "}},
		"space in method":             {changes: []string{":method", "GET /admin"}},
		"scheme with a path":          {changes: []string{":scheme", "http://service.example/admin?"}},
		"other scheme":                {changes: []string{":scheme", "ftp"}},
		"no slash":                    {changes: []string{":path", "orders/1"}},
		"absolute form":               {changes: []string{":path", "http://service.example/admin"}},
		"empty path":                  {changes: []string{":path", ""}},
		"no path":                     {changes: []string{":path", "-"}},
		"no method":                   {changes: []string{":method", "-"}},
		"no scheme":                   {changes: []string{":scheme", "-"}},
		"no authority":                {changes: []string{":authority", "-"}},
		"fragment":                    {changes: []string{":path", "/orders/1#/../../admin"}},
		"CONNECT":                     {changes: []string{":method", "CONNECT", ":path", "-", ":scheme", "-"}},
		"extended CONNECT":            {changes: []string{":method", "CONNECT", ":protocol", "websocket"}},
		"OPTIONS *":                   {changes: []string{":method", "OPTIONS", ":path", "*"}},
		"chunked in HTTP/2":           {changes: []string{"transfer-encoding", "chunked"}},
		"length without body":         {changes: []string{"content-length", "10"}},
		"two lengths":                 {changes: []string{"content-length", "0", "content-length", "10"}},
		"length that is none":         {changes: []string{"content-length", "+0"}},
		"unknown pseudo field":        {changes: []string{":agent", "forged"}},
		"upgrade":                     {changes: []string{"upgrade", "websocket"}},
		"TE":                          {changes: []string{"te", "gzip"}},
	} {
		before := e.service.Count()
		a := rawhttp.Send2(t, e.address, over2(bearer, tc.changes...), tc.trailers)
		if e.service.Count() == before {
			if a.Status == http.StatusOK || a.Status == http.StatusServiceUnavailable {
				t.Errorf("%s: status %d without reaching the service", name, a.Status)
			}
			continue
		}
		if err := oneRequest(e.service.Got(), "/orders/1"); err != nil || e.service.Count() != before+1 {
			t.Errorf("%s: %v: the service got %q", name, err, e.service.Got())
		}
	}
	if a := rawhttp.Send2(t, e.address, over2(bearer), nil); a.Status != http.StatusOK {
		t.Errorf("afterwards a good request gets %d", a.Status)
	}
}

// oneRequest says what is wrong with what the service got, if it is not one request for the target with our identity and nothing forged.
func oneRequest(got, target string) error {
	if strings.Contains(got, "forged") {
		return fmt.Errorf("what a client forged arrived")
	}
	reader := newReader(got)
	r, err := http.ReadRequest(reader)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	switch n := reader.Buffered(); {
	case n > 0:
		return fmt.Errorf("%d bytes follow the request", n)
	case r.RequestURI != target:
		return fmt.Errorf("it asks for %s", r.RequestURI)
	case !slices.Equal(r.Header.Values("X-Agent-Id"), []string{"agt_1"}):
		return fmt.Errorf("x-agent-id is %q", r.Header.Values("X-Agent-Id"))
	case len(slices.Concat(slices.Collect(maps.Values(r.Trailer))...)) > 0:
		return fmt.Errorf("trailers %v", r.Trailer)
	}
	return nil
}
