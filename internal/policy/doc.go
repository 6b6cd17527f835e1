// Package policy is the one home of Open Policy Agent (OPA): which Rego is accepted, how it is compiled, and how a
// decision is evaluated without ever making its caller wait longer than promised.
//
// Rego is treated as code of somebody else. Three fences stand around it:
//
//   - Capabilities. Only the functions of an allow-list compile (capabilities.go); nothing that opens a socket, reads the
//     process or is known to ignore cancellation is on it.
//   - The deadline. Evaluations run on a bounded set of worker goroutines. Eval answers at its deadline whatever the
//     evaluator does, also when it is inside a function that cannot be interrupted (workers.go).
//   - Quarantine. A policy that keeps workers beyond the deadline is not evaluated for a while, so that it cannot eat the
//     processor of everybody else (quarantine.go).
//
// What an error of Eval never means is "allowed". Docs: docs/policies.md, ADR 0011 and ADR 0012.
package policy
