// Package localsvc finds and runs third-party servers (PostgreSQL, Redis, Envoy) and our own daemons as private child processes, for `agentidp dev` and for tests alike.
//
// Guarantees, for every child:
//
//   - it is ready when its Start function returns: readiness is asked of the server itself, never assumed after a pause;
//   - one that does not get ready, or dies, is reported with the end of its log;
//   - Stop ends it by pid, waits for it, and gets harsher when it does not listen; nothing is ever found by name;
//   - it dies with us: on Linux the kernel signals it when the thread that started it ends (that thread lives as long as the child);
//   - it is in a process group of its own, so Ctrl-C in a terminal reaches only us and the order of stopping is ours.
//
// Access to a private server is decided by the file system alone: sockets live in directories of mode 0700 and no server listens on TCP
// unless its configuration says so. A password kept in a file of that same directory would add nothing, so there is none.
package localsvc
