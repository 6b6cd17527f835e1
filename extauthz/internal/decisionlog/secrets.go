package decisionlog

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
)

// What is a credential is told by its name, the same way for headers, query parameters and members of results, and by its form, wherever it
// stands. Both err towards hiding.

// secretParts hide a name that contains them, however it is written: accessToken, x-access-token, X_ACCESS_TOKEN.
var secretParts = []string{
	"token", "secret", "password", "passwd", "passphrase", "credential", "authorization", "bearer", "assertion", "signature", "session", "sessid",
	"cookie", "jwt", "oidc", "saml", "dpop", "apikey", "accesskey", "privatekey",
}

// secretWords hide a name of which they are a word of its own: x-api-key, and not keyboard.
var secretWords = []string{"key", "keys", "auth", "sig", "jws", "jwe", "hmac", "pwd", "pass", "otp", "totp", "sid", "ticket", "cert"}

// namedSecrets carry credentials, and nothing in their names says so: browsers have no other header for a token of a WebSocket.
var namedSecrets = []string{"sec-websocket-protocol"}

// harmless are names with such a word that open nothing.
var harmless = []string{"idempotency-key", "sec-websocket-key", "surrogate-key"}

// isSecretName reports whether the value of a header or a member is hidden because of its name.
func isSecretName(name string) bool {
	lower := strings.ToLower(name)
	if slices.Contains(harmless, lower) {
		return false
	}
	if slices.Contains(namedSecrets, lower) || slices.ContainsFunc(secretParts, func(part string) bool { return strings.Contains(lower, part) }) {
		return true
	}
	for word := range strings.FieldsFuncSeq(lower, isNoLetter) {
		if slices.Contains(secretWords, word) {
			return true
		}
	}
	return false
}

func isNoLetter(r rune) bool { return r < 'a' || r > 'z' }

// isSecretParameter is isSecretName for queries, where an authorization code may be (RFC 6749 s4.1.2), and a name that is escaped may spell
// anything.
func isSecretParameter(name string) bool {
	return strings.ContainsAny(name, "%+") || !utf8.ValidString(name) || strings.Contains(strings.ToLower(name), "code") || isSecretName(name)
}

// maskText hides tokens in a text, and the values of query parameters that are credentials.
func maskText(text string) string {
	before, query, ok := strings.Cut(text, "?")
	if !ok {
		return maskTokens(text)
	}
	pairs := strings.Split(query, "&")
	for n, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if ok && (isSecretParameter(name) || isTokenEscaped(value)) {
			pairs[n] = maskTokens(name) + "=" + decide.Masked
		} else {
			pairs[n] = maskTokens(pair)
		}
	}
	return maskTokens(before) + "?" + strings.Join(pairs, "&")
}

func isTokenEscaped(value string) bool {
	if !strings.ContainsRune(value, '%') {
		return false
	}
	plain, err := url.QueryUnescape(value)
	return err != nil || maskTokens(plain) != plain
}

// maskTokens hides each part of a text that has the form of a JWS or JWE in compact serialization (RFC 7515 s7.1, RFC 7516 s7.1): a JSON
// object in base64url, and at least two dots behind it. Padding, which neither has, does not show it. What follows a JWS in an SD-JWT is hidden with it.
func maskTokens(text string) string {
	var out strings.Builder
	kept, at := 0, 0
	for at < len(text) {
		if !isBase64URL(text[at]) {
			at++
			continue
		}
		end := runEnd(text, at)
		dots := behindDots(text, end)
		begin := -1
		if dots > 0 {
			begin = objectBegin(text[at:end])
		}
		if begin < 0 {
			at = end
			continue
		}
		out.WriteString(text[kept : at+begin])
		out.WriteString(decide.Masked)
		for at = dots; at < len(text) && (isBase64URL(text[at]) || strings.IndexByte(".~=", text[at]) >= 0); at++ {
		}
		kept = at
	}
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

// objectBytes of base64url are looked at to see whether they are the beginning of a JSON object.
const objectBytes = 32

// objectBegin is where in a run of base64url a JSON object with a member begins; -1 for nowhere.
func objectBegin(run string) int {
	for i := range len(run) - 1 {
		if run[i] != 'e' || run[i+1] != 'y' && run[i+1] != 'w' {
			continue
		}
		head := run[i:min(i+objectBytes, len(run))]
		decoded, err := base64.RawURLEncoding.DecodeString(head[:len(head)&^3])
		if err == nil && len(decoded) > 1 && strings.HasPrefix(strings.TrimLeft(string(decoded[1:]), " \t\r\n"), `"`) {
			return i
		}
	}
	return -1
}

func runEnd(text string, from int) int {
	for from < len(text) && isBase64URL(text[from]) {
		from++
	}
	return from
}

// behindDots is the place behind the first two dots of a token whose first part ends at a place; 0 where there are none. Before a dot there may be
// padding, which some issuers leave on.
func behindDots(text string, at int) int {
	for range 2 {
		at = runEnd(text, at)
		for at < len(text) && text[at] == '=' {
			at++
		}
		if at == len(text) || text[at] != '.' {
			return 0
		}
		at++
	}
	return at
}

func isBase64URL(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// hide changes an input document: credentials in it are masked. It returns pointers to them, sorted.
func hide(input map[string]any) []string {
	var masked []string
	headers := member(input, "attributes", "request", "http", "headers")
	hideNames(headers, "/input/attributes/request/http/headers", isSecretName, decide.Masked, &masked)
	hideNames(member(input, "parsed_query"), "/input/parsed_query", isSecretParameter, []any{decide.Masked}, &masked)
	if referer, ok := headers["referer"].(string); ok { // another site's query is not ours to know
		headers["referer"], _, _ = strings.Cut(referer, "?")
	}
	maskTexts(input, "/input", &masked)
	slices.Sort(masked)
	return masked
}

func hideNames(members map[string]any, at string, isSecret func(string) bool, with any, masked *[]string) {
	for name := range members {
		if isSecret(name) {
			members[name] = with
			*masked = append(*masked, pointerTo(at, name))
		}
	}
}

// maskTexts makes each text in v what maskText makes of it, and adds the places of those that changed to masked. Objects and lists are changed;
// a list of the request's own is replaced where it stands.
func maskTexts(v any, at string, masked *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if texts, ok := value.([]string); ok {
				value = slices.Clone(texts)
				v[name] = value
			}
			if text, ok := value.(string); !ok {
				maskTexts(value, pointerTo(at, name), masked)
			} else if hidden := maskText(text); hidden != text {
				v[name] = hidden
				*masked = append(*masked, pointerTo(at, name))
			}
		}
	case []any:
		for n, value := range v {
			if text, ok := value.(string); !ok {
				maskTexts(value, pointerTo(at, strconv.Itoa(n)), masked)
			} else if hidden := maskText(text); hidden != text {
				v[n] = hidden
				*masked = append(*masked, pointerTo(at, strconv.Itoa(n)))
			}
		}
	case []string:
		for n, text := range v {
			if hidden := maskText(text); hidden != text {
				v[n] = hidden
				*masked = append(*masked, pointerTo(at, strconv.Itoa(n)))
			}
		}
	}
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func pointerTo(object, name string) string { return object + "/" + pointerEscapes.Replace(name) }

const resultDepthMax = 16

// maskResult is a copy without what a policy puts into credential headers (an upstream's API key, a session cookie), and without tokens.
func maskResult(v any, depth int) any {
	if depth == 0 {
		return decide.Masked
	}
	switch v := v.(type) {
	case string:
		return maskText(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			if isSecretName(name) {
				out[name] = decide.Masked
				continue
			}
			out[name] = maskResult(value, depth-1)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for n, value := range v {
			out[n] = maskResult(value, depth-1)
		}
		return out
	default:
		return v
	}
}
