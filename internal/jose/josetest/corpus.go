package josetest

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
)

// Case is one token and what must become of it.
type Case struct {
	Group  string // one letter, see Groups
	Name   string // unique within the group
	Token  string
	Accept bool
	// Reason is jose's. It is empty where several would be right, and where the caller refuses because it knows no such
	// key. A caller that looks up the issuer before it verifies has its own reason in place of jose.ReasonIssuer.
	Reason jose.Reason
	Why    string // what the attacker tries, or why the token is good
}

// Groups says what the letters mean and how many attacks each has at least.
var Groups = []struct {
	Letter  string
	Rejects int
	What    string
}{
	{"N", 25, "no signature"},
	{"C", 36, "key-type confusion: HMAC with what is public"},
	{"A", 11, "algorithm that is not the key's"},
	{"K", 29, "key id"},
	{"J", 17, "keys brought along in the header"},
	{"X", 18, "extensions that change what is signed or how it is read"},
	{"S", 45, "structure"},
	{"B", 29, "base64url"},
	{"D", 23, "JSON that two parsers read differently"},
	{"T", 46, "time"},
	{"I", 44, "issuer, audience, subject, token id"},
	{"Y", 18, "tokens made for another purpose"},
	{"G", 26, "signature bytes"},
}

const (
	// Issuer made the good tokens, and is what the attackers want to be taken for.
	Issuer = "https://issuer.example/org/a"
	// Audience is the service that judges the tokens.
	Audience = "svc://payments"
	// Subject is the agent of the good tokens.
	Subject = "agt_01961f0e5f6a7c4f9c0c5f6a7c4f9c0c"

	nowSeconds = 1790000000
)

// Now is the moment at which the corpus is judged.
func Now() time.Time { return time.Unix(nowSeconds, 0) }

// Rules are those of the one issuer at the one entry point.
func Rules() *jose.Rules {
	return &jose.Rules{
		Issuer:      Issuer,
		Audiences:   []string{Audience},
		Types:       []string{"at+jwt"},
		Algorithms:  []jose.Algorithm{jose.ES256, jose.EdDSA, jose.RS256},
		LifetimeMax: time.Hour,
		Skew:        time.Minute,
	}
}

// Corpus returns all cases, sorted by group and name. The caller must not change it.
func Corpus() []Case { return corpusOnce() }

var corpusOnce = sync.OnceValue(func() []Case {
	c := &corpus{keys: loadKeys()}
	for _, generate := range []func(){
		c.controls, c.noSignature, c.confusion, c.algorithm, c.keyID, c.keysInHeader, c.extensions, c.segments,
		c.serialisations, c.payloads, c.headers, c.base64, c.duplicates, c.encodings, c.sizes, c.expiry, c.otherTimes, c.issuer, c.audience,
		c.subjectAndID, c.purpose, c.ecdsaBytes, c.rsaBytes, c.ed25519Bytes, c.pssSalts, c.changedBytes,
	} {
		generate()
	}
	slices.SortStableFunc(c.cases, func(a, b Case) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Name, b.Name))
	})
	return c.cases
})

// Valid is the plain good token the attacks start from.
func Valid() string {
	c := &corpus{keys: loadKeys()}
	return c.ec(newHeader(), newClaims())
}

type corpus struct {
	keys  *keyring
	cases []Case
}

func (c *corpus) reject(group, name, token string, reason jose.Reason, why string) {
	c.cases = append(c.cases, Case{Group: group, Name: name, Token: token, Reason: reason, Why: why})
}

func (c *corpus) accept(group, name, token, why string) {
	c.cases = append(c.cases, Case{Group: group, Name: name, Token: token, Accept: true, Why: why})
}
