package extauthz

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// strangers are the requests that cost most before anybody is known: each is at a limit of checkreq, on a public route.
func strangers() map[string][]string {
	same := func(name string, n, size int) []string {
		var fields []string
		for range n {
			fields = append(fields, name, strings.Repeat("a", size))
		}
		return fields
	}
	var distinct, options []string
	for i := range 90 {
		distinct = append(distinct, fmt.Sprintf("h%d", i), strings.Repeat("a", 600))
	}
	for range 90 {
		options = append(options, "connection", strings.Repeat(",", 650))
	}
	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf("%x", i))
	}
	return map[string][]string{
		"plain":                  {"/healthz"},
		"4,000 segments":         {"/healthz" + strings.Repeat("/a", 4000)},
		"2,700 escapes in path":  {"/healthz/" + strings.Repeat("%20", 2700)},
		"2,000 parameters":       {"/healthz?" + strings.Join(names, "&")},
		"4,000 of one name":      {"/healthz?" + strings.Repeat("a&", 4000)},
		"2,700 escapes in query": {"/healthz?" + strings.Repeat("%20", 2700)},
		"90 fields of one name":  append([]string{"/healthz"}, same("x", 90, 600)...),
		"90 names":               append([]string{"/healthz"}, distinct...),
		"60,000 options":         append([]string{"/healthz"}, options...),
		"90 identity headers":    append([]string{"/healthz"}, same("x-agent-id", 90, 600)...),
	}
}

func BenchmarkStrangers(b *testing.B) {
	readsAll := "package agentidp.authz\nallow if { input.parsed_path[0] == \"healthz\"; input.parsed_query; count(input.attributes.request.http.headers) > 0 }\n"
	e := newEdge(b, readsAll, nil)
	for name, r := range strangers() {
		check := encoded(b, request("GET", r[0], r[1:]...))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Server.Check(context.Background(), check)
			}
		})
	}
}
