// Package spiffe knows the workloads of SPIFFE trust domains: their ids, and the bundles that their X.509-SVIDs and JWT-SVIDs are verified with.
package spiffe

import (
	"errors"
	"strings"
)

// ID is a SPIFFE ID of a workload, in the one spelling there is of it (SPIFFE-ID s2).
type ID struct{ TrustDomain, Path string }

// String is the URI.
func (id ID) String() string { return scheme + id.TrustDomain + id.Path }

const (
	scheme              = "spiffe://"
	idBytesMax          = 2048 // SPIFFE-ID s2.3
	trustDomainBytesMax = 255
)

var (
	errID          = errors.New("want spiffe://trust-domain/path, segments of letters, digits, . - _ only")
	errTrustDomain = errors.New("want a trust domain such as example.org: lower-case letters, digits, . - _")
)

// ParseID reads the id of a workload: with a path, since an id without one is the trust domain itself.
func ParseID(text string) (ID, error) {
	rest, ok := strings.CutPrefix(text, scheme)
	if !ok || len(text) > idBytesMax {
		return ID{}, errID
	}
	domain, path, slash := strings.Cut(rest, "/")
	if CheckTrustDomain(domain) != nil || !slash {
		return ID{}, errID
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || !only(segment, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") {
			return ID{}, errID
		}
	}
	return ID{domain, "/" + path}, nil
}

// CheckTrustDomain says why a name is no trust domain.
func CheckTrustDomain(name string) error {
	if name == "" || len(name) > trustDomainBytesMax || !only(name, "abcdefghijklmnopqrstuvwxyz0123456789.-_") {
		return errTrustDomain
	}
	return nil
}

// only reports whether s has no characters but those.
func only(s, of string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(of, r) }) < 0
}
