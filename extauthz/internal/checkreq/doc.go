// Package checkreq turns what Envoy sent into a Request of our own, or refuses it. It is pure: no clock, no I/O, no state.
//
// One rule governs it: what the policy decides on must be what the upstream will act on. Anything two parsers could read
// differently (an escaped slash, a dot segment, a header that came twice, a pseudo header that contradicts its attribute)
// is refused, never repaired: Envoy forwards the bytes it received, so repairing our copy would only hide the difference.
package checkreq
