package config

import (
	"fmt"
	"strings"
)

// suggestion helps with a key that is not known: the known key it resembles, else all known keys.
func suggestion(key string, known []string) string {
	best, bestDistance := "", 3 // more than two edits are a different word
	for _, k := range known {
		distance := editDistance(strings.ToLower(key), strings.ToLower(k))
		if distance < bestDistance {
			best, bestDistance = k, distance
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %q?", best)
	case len(known) > 0:
		return "; known here: " + strings.Join(known, ", ")
	}
	return ""
}

// editDistance is the Levenshtein distance. Long inputs are cut: keys are short, and the file is not ours.
func editDistance(a, b string) int {
	const keyBytesMax = 64
	a, b = a[:min(len(a), keyBytesMax)], b[:min(len(b), keyBytesMax)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
