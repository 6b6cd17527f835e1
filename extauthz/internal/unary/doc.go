// Package unary is the server side of gRPC over HTTP/2 for calls of one message each way, which is all that Envoy asks of
// this process.
//
// A general server takes four goroutines and their wake-ups for a call: one reads the connection, one runs the handler, one
// writes, one waits. Here the goroutine that reads a connection also answers, as long as answering takes memory and no
// work; answers leave together, when nothing more is there to read. What takes work (a signature, a policy) is handed to
// other goroutines, so that no call waits for another.
//
// HTTP/2 is RFC 9113 with HPACK by golang.org/x/net; gRPC is its "PROTOCOL-HTTP2" text. Streaming methods, compression and
// server push do not exist here. The peer is a proxy, not the world; still, nothing a peer sends can make the server panic,
// grow without bound or stop serving other connections.
package unary
