//go:build race

package extauthz

// raceAllocations: under the race detector sync.Pool drops some of what it is given, on purpose.
const raceAllocations = 4
