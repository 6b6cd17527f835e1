package web

import "time"

// Limits of one request. They bound what a stranger can make the process hold or wait for.
const (
	// BodyBytesMax is the longest request body read. The largest legal agent (all lists full) is about 40 KiB.
	BodyBytesMax = 64 << 10

	headerBytesMax     = 16 << 10
	headerReadTimeout  = 5 * time.Second
	readTimeout        = 10 * time.Second // of the whole request: a body dripped a byte at a time ends here
	requestTimeout     = 10 * time.Second // of a handler, by its context
	writeTimeout       = 30 * time.Second // above both, so that a slow request still gets its answer
	idleTimeout        = 60 * time.Second
	streamsMax         = 100 // HTTP/2, per connection
	overloadRetryAfter = time.Second

	// ConcurrentRequestsMax is the default of Config.ConcurrentMax. At 64 KiB of body and a few stacks each, about 50 MiB.
	ConcurrentRequestsMax = 512
)
