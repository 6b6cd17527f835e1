package checkresp

import (
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/jose"
)

func TestChallenges(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Challenge{
		`Bearer realm="agentidp"`:                                                                        {},
		`DPoP realm="agentidp", algs="ES256 EdDSA PS256"`:                                                {Scheme: SchemeDPoP},
		`Bearer realm="agentidp", DPoP realm="agentidp", algs="ES256 EdDSA PS256"`:                       {Scheme: SchemeEither},
		`Bearer realm="agentidp", error="invalid_token", error_description="x"`:                          {Error: "invalid_token"},
		`DPoP realm="agentidp", error="use_dpop_nonce", error_description="x", algs="ES256 EdDSA PS256"`: {Scheme: SchemeDPoP, Error: "use_dpop_nonce"},
		`DPoP realm="agentidp", error="e", error_description="x", scope="a b", algs="ES256 EdDSA PS256"`: {Scheme: SchemeDPoP, Error: "e", Scopes: []string{"a", "b"}},
		`Bearer realm="agentidp", error="insufficient_scope", error_description="x", scope="a"`:          {Error: "insufficient_scope", Scopes: []string{"a", `"`}},
		`Bearer realm="agentidp", error="e", error_description="x", DPoP realm="agentidp", error="e", ` +
			`error_description="x", algs="ES256 EdDSA PS256"`: {Scheme: SchemeEither, Error: "e"},
	} {
		if got := string(c.appendTo(nil, "x")); got != want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c, got, want)
		}
	}
}

// The list clients are told is the list that is accepted.
func TestProofAlgorithms(t *testing.T) {
	t.Parallel()
	var names []string
	for _, a := range jose.ProofAlgorithms() {
		names = append(names, string(a))
	}
	if got := strings.Join(names, " "); got != proofAlgorithms {
		t.Errorf("clients are told %q, accepted is %q", proofAlgorithms, got)
	}
}
