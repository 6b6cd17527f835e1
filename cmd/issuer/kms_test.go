package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/agentidp/agentidp/internal/localca"
	"github.com/agentidp/agentidp/internal/testkit"
)

// vaultOfKeys is as much of AWS KMS's API as moving a key there needs: it keeps what it is given, and gives it back for the same key and encryption context. What the client makes of
// every answer is tested in internal/kms.
type vaultOfKeys struct {
	mu   sync.Mutex
	kept map[string]keptKey
}

type keptKey struct {
	KeyID             string `json:"KeyId"`
	Plaintext         []byte
	CiphertextBlob    []byte `json:",omitempty"`
	EncryptionContext map[string]string
}

func (v *vaultOfKeys) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var in keptKey
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.Header.Get("X-Amz-Target") == "TrentService.Encrypt" {
		name := rand.Text()
		v.kept[name] = in
		_ = json.NewEncoder(w).Encode(keptKey{KeyID: in.KeyID, CiphertextBlob: []byte(name)})
		return
	}
	was, ok := v.kept[string(in.CiphertextBlob)]
	if !ok || was.KeyID != in.KeyID || !maps.Equal(was.EncryptionContext, in.EncryptionContext) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"InvalidCiphertextException"}`))
		return
	}
	_ = json.NewEncoder(w).Encode(keptKey{KeyID: in.KeyID, Plaintext: was.Plaintext})
}

// From a file to AWS and back, by the command line alone. The environment is the process's: not beside other tests.
func TestRewrapToAWSAndBack(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	server := httptest.NewServer(&vaultOfKeys{kept: map[string]keptKey{}})
	defer server.Close()
	files, address := testkit.Certificates(t), fmt.Sprintf("localhost:%d", testkit.FreePort(t))
	path := configuration(t, files, address)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const key = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	aws := "aws: {keyArn: '" + key + "', endpoint: '" + server.URL + "'}"
	configure := func(kek string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(strings.Replace(string(file), "kek: {file: kek}\n", kek, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, stdout, stderr := try(t.Context(), "-check", "-config", path); status != 0 || !strings.Contains(stdout, "data keys: wrapped by ") || stderr != "" {
			t.Fatalf("check %s: %d %q %q", kek, status, stdout, stderr)
		}
	}
	serveOnce(t, path, files, address) // makes the first data key
	for _, step := range []struct{ kek, want string }{
		{"kek: {file: kek}\nkms: {" + aws + "}\n", `"rewrapped":1`},
		{"kms: {" + aws + "}\n", `"rewrapped":0`},
		{"kek: {file: kek}\nkms: {primary: kek, " + aws + "}\n", `"rewrapped":1`},
		{"kek: {file: kek}\n", `"rewrapped":0`},
	} {
		configure(step.kek)
		if status, stdout, stderr := try(t.Context(), "-rewrap", "-config", path); status != 0 || stdout != "" || !strings.Contains(stderr, step.want) {
			t.Errorf("%s: %d %s %s, want %s", step.kek, status, stdout, stderr, step.want)
		}
	}
	// A service that is not there is told as such, and not with what the file says of it.
	server.Close()
	configure("kek: {file: kek}\nkms: {" + aws + "}\n")
	if status, _, stderr := try(t.Context(), "-rewrap", "-config", path); status != 1 || !strings.Contains(stderr, "kms_unavailable") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("without the service: %d %q", status, stderr)
	}
}

func serveOnce(t *testing.T, path string, files localca.Folder, address string) {
	t.Helper()
	if status, _, stderr := try(t.Context(), "-migrate", "-config", path); status != 0 {
		t.Fatalf("migrate: %d %q", status, stderr)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, problems lockedBuffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"-config", path}, &out, &problems) }()
	if err := fetch(t, files, "https://"+address+"/.well-known/jwks.json", ended); err != nil {
		t.Fatalf("not served: %v\n%s%s", err, problems.String(), out.String())
	}
	stop()
	if status := <-ended; status != 0 {
		t.Fatalf("ended with %d: %s", status, problems.String())
	}
}
