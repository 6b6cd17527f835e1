//go:build !race

package extauthz

const raceAllocations = 0
