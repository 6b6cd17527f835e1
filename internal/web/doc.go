// Package web is the HTTP side of every daemon: one Handler through which each request passes, one strict way to read JSON and queries, one
// way to answer, one place where errors become problem documents.
//
//	conn ─► request id ─► security headers ─► route ─► room? ─► authenticated? ─► body cap, deadline ─► handler
//	            └── panic recovery, one log line, metrics: around everything ──────────────────────────────┘
//
// A handler never writes an error itself: it calls Fail, or returns the error to the adapter JSON, which does.
package web
