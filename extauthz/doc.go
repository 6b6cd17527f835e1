// Package extauthz is the sidecar: it answers Envoy's question whether a request may pass.
//
// Two halves meet in one immutable Snapshot (internal/state). Feeds write it: keys, revocation lists and the policy, each read and
// checked off the request path, each kept when its source fails. Server.Check reads it once per request and decides in memory, without
// a network call. Run makes both from the configuration (internal/settings); docs/extauthz.md is the operator's manual.
//
// The pipeline is server.go; the steps it takes beside those of internal/ are in files of their own. Run and what only a process needs is in
// run.go, sources.go and serve.go.
//
// What must hold, whatever happens: every answer is an explicit OK or an explicit denial; not knowing is 503, never 403 and never 200.
package extauthz
