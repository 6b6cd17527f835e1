// Package web is the HTTP side of every daemon: one Handler through which each request passes, one strict way to read JSON and queries, one
// way to answer, one place where errors become problem documents.
//
//	conn ─► request id ─► security headers ─► route ─► authenticated? ─► body received, capped ─► room? ─► deadline ─► handler
//	            └── panic recovery, one log line, metrics: around everything ────────────────────────────────────────────┘
//
// The body is received before the request takes up room: clients that send slowly wait in front of the door, and cannot shut it for others.
//
// A handler never writes an error itself: it calls Fail, or returns the error to the adapter JSON, which does.
package web
