package jose_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

func verifyProof(compact string) (*jose.Proof, error) {
	p, err := jose.ParseProof(compact)
	if err != nil {
		return p, err
	}
	return p, p.Verify()
}

func TestProofCorpus(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	attacks := 0
	for _, tt := range josetest.ProofCorpus() {
		if seen[tt.Name] {
			t.Errorf("two cases are named %q", tt.Name)
		}
		seen[tt.Name] = true
		if !tt.Accept {
			attacks++
		}
		t.Run(tt.Name, func(t *testing.T) {
			t.Parallel()
			_, err := verifyProof(tt.Proof)
			switch {
			case tt.Accept && err != nil:
				t.Errorf("refused (%v) but good: %s", err, tt.Why)
			case !tt.Accept && err == nil:
				t.Errorf("WRONG ACCEPT: %s", tt.Why)
			case reasonOf(err) != tt.Reason:
				t.Errorf("refused for %q (%v), want %q: %s", reasonOf(err), err, tt.Reason, tt.Why)
			}
		})
	}
	if attacks < 85 {
		t.Errorf("%d attacks, want 85 at least", attacks)
	}
	t.Logf("%d attacks, %d good proofs", attacks, len(seen)-attacks)
}

// TestProofReasons: every reason is reached by some attack, and the list for metrics is whole.
func TestProofReasons(t *testing.T) {
	t.Parallel()
	reached := map[jose.Reason]bool{"": true}
	for _, c := range josetest.ProofCorpus() {
		reached[c.Reason] = true
	}
	for _, reason := range jose.ProofReasons() {
		if !reached[reason] {
			t.Errorf("no attack is refused for %s", reason)
		}
		delete(reached, reason)
	}
	delete(reached, "")
	if len(reached) > 0 {
		t.Errorf("reasons that are not listed: %v", reached)
	}
}

// A token is no proof, and a proof is no token, whoever signed them.
func TestProofsAndTokensAreNotExchanged(t *testing.T) {
	t.Parallel()
	for _, c := range josetest.ProofCorpus() {
		if _, err := jose.ParseToken(c.Proof); err == nil {
			t.Errorf("%s: a proof was parsed as a token", c.Name)
		}
	}
	for _, c := range josetest.Corpus() {
		if _, err := jose.ParseProof(c.Token); err == nil {
			t.Errorf("%s %s: a token was parsed as a proof", c.Group, c.Name)
		}
	}
}

func TestProofTellsWhatItSays(t *testing.T) {
	t.Parallel()
	keys := corpusKeys(t)
	key, _ := keys.Lookup("ec-1")
	for _, c := range josetest.ProofCorpus() {
		if c.Name != "nonce" {
			continue
		}
		got, err := verifyProof(c.Proof)
		if err != nil {
			t.Fatal(err)
		}
		want := &jose.Proof{
			ID: "prf_01961f0e5f6a7c4f", Method: "GET", URI: josetest.ProofURI, IssuedAt: fixedNow.Unix(),
			AccessTokenHash: strings.Repeat("A", 43), Nonce: "n-1",
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(jose.Proof{})); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if got.Thumbprint() != key.Thumbprint() {
			t.Errorf("thumbprint %q, want %q", got.Thumbprint(), key.Thumbprint())
		}
	}
}

// FuzzProof: whatever is accepted was signed by a key of the corpus, letter for letter.
func FuzzProof(f *testing.F) {
	good := map[string]bool{}
	for _, c := range josetest.ProofCorpus() {
		f.Add(c.Proof)
		if c.Accept {
			good[c.Proof[:strings.LastIndexByte(c.Proof, '.')]] = true
		}
	}
	f.Fuzz(func(t *testing.T, compact string) {
		p, err := verifyProof(compact)
		if err != nil {
			if reason := string(reasonOf(err)); !strings.HasPrefix(reason, "proof_") {
				t.Fatalf("%q: refused for %q", compact, reason)
			}
			return
		}
		if !good[compact[:strings.LastIndexByte(compact, '.')]] {
			t.Fatalf("WRONG ACCEPT of %q: %+v", compact, p)
		}
	})
}

func BenchmarkProof(b *testing.B) {
	for _, c := range josetest.ProofCorpus() {
		if c.Name != "good" && c.Name != "by another key" && c.Name != "Ed25519" {
			continue
		}
		b.Run(c.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := verifyProof(c.Proof); (err == nil) != c.Accept {
					b.Fatal(err)
				}
			}
		})
	}
}
