package web

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/agentidp/agentidp/internal/problem"
)

// VersionTag is the strong ETag of a version number.
func VersionTag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// ContentTag is the strong ETag of a document.
func ContentTag(doc []byte) string {
	sum := sha256.Sum256(doc)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
}

// IfMatch is the version that the request wants to change: 0 when it does not say, or says `*`. RFC 9110 s13.1.1 also allows lists; a
// client of ours knows one version, and a list would make the change unconditional in disguise, so it is refused.
func IfMatch(r *http.Request) (version int64, err error) {
	values := r.Header.Values("If-Match")
	if len(values) == 0 || len(values) == 1 && values[0] == "*" {
		return 0, nil
	}
	digits, ok := strings.CutPrefix(values[0], `"`)
	digits, ok2 := strings.CutSuffix(digits, `"`)
	version, parseErr := strconv.ParseInt(digits, 10, 64)
	if len(values) != 1 || !ok || !ok2 || parseErr != nil || version < 1 || VersionTag(version) != values[0] {
		return 0, &problem.Error{Kind: problem.Invalid, Code: "invalid_if_match", Detail: "If-Match takes one ETag as we sent it, or *.", Field: "If-Match"}
	}
	return version, nil
}

// notModified reports whether If-None-Match names tag, by weak comparison (RFC 9110 s13.1.2).
func notModified(r *http.Request, tag string) bool {
	for _, value := range r.Header.Values("If-None-Match") {
		for candidate := range strings.SplitSeq(value, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}

// Document is a public document that clients may keep and revalidate.
type Document struct {
	ContentType  string
	CacheControl string
	ETag         string
	Body         []byte
}

// Serve answers a GET or HEAD: 304 without a body when the client already has it (RFC 9110 s15.4.5), else 200.
func (d Document) Serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", d.CacheControl)
	h.Set("ETag", d.ETag)
	if notModified(r, d.ETag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", d.ContentType)
	h.Set("Content-Length", strconv.Itoa(len(d.Body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(d.Body) // the client may be gone; there is nobody left to tell
}
