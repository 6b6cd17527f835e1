package fetch

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxAgeMax bounds what a server can ask for; it also keeps the arithmetic from overflowing.
const maxAgeMax = 365 * 24 * time.Hour

// maxAge is how long an answer stays fresh: Cache-Control max-age less Age (RFC 9111 s4.2), 0 when nothing is said or no-cache or
// no-store forbids it.
func maxAge(h http.Header) time.Duration {
	var age time.Duration
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			age = seconds(strings.Trim(value, `"`))
		}
	}
	return max(0, age-seconds(h.Get("Age")))
}

func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0
	}
	if n > uint64(maxAgeMax/time.Second) {
		return maxAgeMax
	}
	return time.Duration(n) * time.Second
}
