// Package orgpolicy keeps the policies of organizations: one folder, one compiler, one set of workers for each, so that nothing of one
// (rules, data, names, mistakes, time, memory) reaches another.
//
//	request ── Find ──► Organization ── InForce ──► the policy          (two loads of a pointer)
//	                         │
//	                         └── nobody asked before: Await ──► residency: compile, follow the folder, until others need the place
//
// A policy is compiled when the first request needs it, once however many ask, away from requests. Those wait as long as their deadline
// lets them; what cannot wait is not decided, and never allowed. The least recently used policies make room for others.
//
// Which organizations have a policy is what the names of the folders say. A path is made of such a name only, never of anything a token
// said.
package orgpolicy
