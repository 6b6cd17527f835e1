//go:build moto

package kms

import (
	"encoding/json"
	"flag"
	"net/http"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/problem"
)

// independent is another server to run the tests of AWS against, for instance `moto_server -p 5000` and `go test -tags moto ./internal/kms -run AWS -aws http://127.0.0.1:5000`. It has some
// hundred megabytes and is no part of `make deps`, nor is this file of `make test`.
var independent = flag.String("aws", "", "`address` of another server with the API of AWS KMS, on loopback")

// createKey is CreateKey of the independent server.
func createKey(t *testing.T) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, *independent, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{
		"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"TrentService.CreateKey"},
		"Authorization": {"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=0"},
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var out struct{ KeyMetadata struct{ Arn string } }
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status, err)
	}
	return out.KeyMetadata.Arn
}

// TestAWSKeepsTheKey against a server that others wrote.
func TestAWSIndependentServer(t *testing.T) {
	t.Parallel()
	key := createKey(t)
	keepsTheKey(t, mustAWS(t, AWSConfig{KeyARN: key, Endpoint: *independent}), mustAWS(t, AWSConfig{KeyARN: createKey(t), Endpoint: *independent}), "aws:"+key, func(err error) bool {
		return err != nil && problem.KindOf(err) != problem.Unavailable // moto says AccessDenied for a ciphertext of another key, where AWS documents IncorrectKey
	})
	missing := mustAWS(t, AWSConfig{KeyARN: strings.Replace(awsKey, "123456789012", key[len("arn:aws:kms:eu-central-1:"):][:12], 1), Endpoint: *independent})
	if _, _, err := missing.Wrap(t.Context(), []byte("x"), nil); err == nil || problem.KindOf(err) == problem.Unavailable {
		t.Errorf("a key that is not there: %v", err)
	}
}
