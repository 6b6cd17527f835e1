// Package archtest holds the rules of who may import whom, as tests. Each rule says why it exists; a rule about something that is no longer
// there fails too, so that the list stays true.
package archtest
