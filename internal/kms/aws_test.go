package kms

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/seal"
)

// TestMain leaves the clouds' clients nothing to find but what is given here, and nobody to ask: no file, and no instance's metadata.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret-canary", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_CA_BUNDLE": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_MAX_ATTEMPTS":               "1", // each repetition waits for a second
		"GOOGLE_APPLICATION_CREDENTIALS": "/does/not/exist", "GCE_METADATA_HOST": "127.0.0.1:1",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// keyManager answers as the API reference of AWS KMS documents Encrypt and Decrypt, in AWS JSON 1.1 over real TLS. It is not AWS: it does not check signatures, but that there is one.
type keyManager struct {
	mu      sync.Mutex
	keys    map[string]cipher.AEAD // by ARN
	status  int                    // of every answer, when not 0
	code    string
	asked   int
	context []map[string]string // of every request
}

const (
	awsKey      = "arn:aws:kms:eu-central-1:123456789012:key/11111111-1111-4111-8111-111111111111"
	awsOtherKey = "arn:aws:kms:eu-central-1:123456789012:key/22222222-2222-4222-8222-222222222222"
)

func newGCM(t *testing.T) cipher.AEAD {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm
}

func (f *keyManager) set(status int, code string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status, f.code = status, code
}

func (f *keyManager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	status, answer := f.answer(r)
	if status != http.StatusOK {
		w.WriteHeader(status)
		answer = map[string]any{"__type": answer, "message": "canary: arn:aws:iam::123456789012:user/canary"}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *keyManager) answer(r *http.Request) (int, any) {
	var in struct {
		KeyID             string `json:"KeyId"`
		Plaintext         []byte
		CiphertextBlob    []byte
		EncryptionContext map[string]string
	}
	authorization := r.Header.Get("Authorization")
	if f.status != 0 {
		return f.status, f.code
	}
	if !strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") || !strings.Contains(authorization, "/eu-central-1/kms/aws4_request") {
		return http.StatusForbidden, "IncompleteSignatureException"
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || r.Method != http.MethodPost {
		return http.StatusBadRequest, "ValidationException"
	}
	f.context = append(f.context, in.EncryptionContext)
	key, ok := f.keys[in.KeyID]
	if !ok {
		return http.StatusBadRequest, "NotFoundException"
	}
	associated := []byte(in.KeyID)
	for _, name := range slices.Sorted(maps.Keys(in.EncryptionContext)) {
		associated = append(associated, name+"="+in.EncryptionContext[name]+"\n"...)
	}
	switch r.Header.Get("X-Amz-Target") {
	case "TrentService.Encrypt":
		nonce := make([]byte, 12)
		rand.Read(nonce)
		return http.StatusOK, map[string]any{"CiphertextBlob": append([]byte(in.KeyID), key.Seal(nonce, nonce, in.Plaintext, associated)...), "KeyId": in.KeyID}
	case "TrentService.Decrypt":
		for arn := range f.keys {
			if bytes.HasPrefix(in.CiphertextBlob, []byte(arn)) && arn != in.KeyID {
				return http.StatusBadRequest, "IncorrectKeyException"
			}
		}
		sealed, ok := bytes.CutPrefix(in.CiphertextBlob, []byte(in.KeyID))
		if !ok || len(sealed) < 12 {
			return http.StatusBadRequest, "InvalidCiphertextException"
		}
		plaintext, err := key.Open(nil, sealed[:12], sealed[12:], associated)
		if err != nil {
			return http.StatusBadRequest, "InvalidCiphertextException"
		}
		return http.StatusOK, map[string]any{"Plaintext": plaintext, "KeyId": in.KeyID}
	}
	return http.StatusBadRequest, "UnknownOperationException"
}

// authority writes the certificate of a test server to a file.
func authority(t *testing.T, server *httptest.Server) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return ca
}

func newAWS(t *testing.T) (ours, other *AWS, fake *keyManager) {
	t.Helper()
	fake = &keyManager{keys: map[string]cipher.AEAD{awsKey: newGCM(t), awsOtherKey: newGCM(t)}}
	server := httptest.NewTLSServer(fake)
	t.Cleanup(server.Close)
	endpoint, ca := server.URL, authority(t, server)
	return mustAWS(t, AWSConfig{awsKey, endpoint, ca}), mustAWS(t, AWSConfig{awsOtherKey, endpoint, ca}), fake
}

func mustAWS(t *testing.T, cfg AWSConfig) *AWS {
	t.Helper()
	a, err := NewAWS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A secret is sealed and opened under a key that never leaves the service, which is asked once and not for each secret; nothing else opens it.
func TestAWSKeepsTheKey(t *testing.T) {
	t.Parallel()
	a, other, fake := newAWS(t)
	keepsTheKey(t, a, other, "aws:"+awsKey, doesNotOpen)
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if fake.asked != len(fake.context) {
		t.Errorf("asked %d times", fake.asked)
	}
	// The version and "org_1", each after its length, in hexadecimal: the spelling under which what is stored was wrapped.
	want := map[string]string{"associatedData": "000000126167656e746964702d6b65797365742d7631000000056f72675f31"}
	if !maps.Equal(fake.context[0], want) {
		t.Errorf("the encryption context is %v", fake.context[0])
	}
}

// counted is how often a wrapper is asked for something.
type counted struct {
	seal.Wrapper
	wraps, unwraps int
}

func (c *counted) Wrap(ctx context.Context, plaintext, associatedData []byte) ([]byte, string, error) {
	c.wraps++
	return c.Wrapper.Wrap(ctx, plaintext, associatedData)
}

func (c *counted) Unwrap(ctx context.Context, wrapped, associatedData []byte) ([]byte, error) {
	c.unwraps++
	return c.Wrapper.Unwrap(ctx, wrapped, associatedData)
}

func doesNotOpen(err error) bool { return errors.Is(err, seal.ErrOpen) }

// keepsTheKey is what holds for every service, of whose keys there are two. refused is what is said of a ciphertext of the other one.
func keepsTheKey(t *testing.T, ours, other seal.Wrapper, keyID string, refused func(error) bool) {
	t.Helper()
	w, store := &counted{Wrapper: ours}, keysets{}
	place := seal.Place{Table: "t", Column: "c", Organization: "org_1", Row: "1"}
	sealer := seal.New(seal.NewKEK(w), store)
	sealed, err := sealer.Seal(t.Context(), place, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if got, err := sealer.Open(t.Context(), place, sealed); err != nil || string(got) != "secret" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if w.wraps != 1 || w.unwraps != 1 {
		t.Errorf("asked to wrap %d times and to unwrap %d times", w.wraps, w.unwraps)
	}
	current, err := ours.Current(t.Context())
	if id := store["org_1"].KEKID; err != nil || id != keyID || id != current || !ours.Owns(id) || other.Owns(id) || ours.Owns("17") || len(id) > keyIDBytesMax {
		t.Errorf("key id %q, now %q, %v", id, current, err)
	}
	// A data key copied to another organization's row: the scope is associated data.
	store["org_2"] = store["org_1"]
	if _, err := seal.New(seal.NewKEK(ours), store).Open(t.Context(), seal.Place{Organization: "org_2"}, sealed); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a copied data key: %v", err)
	}
	// The name of the other key in the database is not believed.
	id, err := other.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store["org_1"] = seal.WrappedKeyset{Bytes: store["org_1"].Bytes, KEKID: id}
	if _, err := seal.New(seal.NewKEK(ours, other), store).Open(t.Context(), place, sealed); !refused(err) {
		t.Errorf("a forged key id: %v", err)
	}
	wrapped, _, err := ours.Wrap(t.Context(), []byte("data key"), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ours.Unwrap(t.Context(), wrapped, []byte("ad")); err != nil || string(got) != "data key" {
		t.Errorf("%q, %v", got, err)
	}
	changed := bytes.Clone(wrapped)
	changed[len(changed)-1] ^= 1
	for name, tt := range map[string]struct {
		by         seal.Wrapper
		wrapped    []byte
		associated string
	}{
		"other associated data": {ours, wrapped, "other"}, "no associated data": {ours, wrapped, ""}, "changed": {ours, changed, "ad"},
		"no ciphertext": {ours, []byte("x"), "ad"}, "nothing": {ours, nil, "ad"},
	} {
		if _, err := tt.by.Unwrap(t.Context(), tt.wrapped, []byte(tt.associated)); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := other.Unwrap(t.Context(), wrapped, []byte("ad")); !refused(err) {
		t.Errorf("another key: %v", err)
	}
}

// What passes by itself is Unavailable; what an operator must mend is not; nothing the service says, and no credential, is in an error.
func TestAWSTrouble(t *testing.T) {
	t.Parallel()
	a, _, fake := newAWS(t)
	wrapped, _, err := a.Wrap(t.Context(), []byte("data key"), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		status      int
		code        string
		unavailable bool
	}{
		{500, "KMSInternalException", true},
		{503, "DependencyTimeoutException", true},
		{500, "KeyUnavailableException", true},
		{400, "ThrottlingException", true},
		{429, "a canary", true},
		{400, "AccessDeniedException", false},
		{400, "NotFoundException", false},
		{400, "DisabledException", false},
		{400, "KMSInvalidStateException", false},
		{400, "UnrecognizedClientException", false},
		{403, "a canary", false},
	} {
		fake.set(tt.status, tt.code)
		_, _, wrapErr := a.Wrap(t.Context(), []byte("x"), nil)
		_, err := a.Unwrap(t.Context(), wrapped, []byte("ad"))
		for _, err := range []error{wrapErr, err} {
			if got := problem.KindOf(err) == problem.Unavailable; err == nil || got != tt.unavailable || errors.Is(err, seal.ErrOpen) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%d %s: %v", tt.status, tt.code, err)
			}
			if _, ok := errors.AsType[smithy.APIError](err); ok {
				t.Errorf("%d %s: the answer is wrapped", tt.status, tt.code)
			}
		}
	}
}

func TestAWSDown(t *testing.T) {
	t.Parallel()
	down := httptest.NewTLSServer(nil)
	ca := authority(t, down)
	down.Close()
	isDown(t, mustAWS(t, AWSConfig{awsKey, down.URL, ca}))
	silent(t, func(address, ca string) seal.Wrapper { return mustAWS(t, AWSConfig{awsKey, address, ca}) })
}

// isDown is how a service that is not there is told.
func isDown(t *testing.T, w seal.Wrapper) {
	t.Helper()
	_, err := seal.New(seal.NewKEK(w), keysets{}).Seal(t.Context(), seal.Place{}, nil)
	if e, ok := errors.AsType[*problem.Error](err); !ok || e.Kind != problem.Unavailable || e.RetryAfter <= 0 || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("%v", err)
	}
}

// silent is a service that takes requests and never answers: the caller's time is what counts.
func silent(t *testing.T, wrapper func(address, ca string) seal.Wrapper) {
	t.Helper()
	release := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	w, begun := wrapper(server.URL, authority(t, server)), time.Now()
	if _, _, err := w.Wrap(ctx, []byte("x"), nil); problem.KindOf(err) != problem.Unavailable || time.Since(begun) > callTimeout/2 {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
}

func TestAWSConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := AWSConfig{KeyARN: awsKey}
	for name, change := range map[string]func(*AWSConfig){
		"as it is": func(*AWSConfig) {}, "China": func(c *AWSConfig) { c.KeyARN = "arn:aws-cn:kms:cn-north-1:123456789012:key/x" }, "in many regions": func(c *AWSConfig) {
			c.KeyARN = "arn:aws:kms:us-gov-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab"
		}, "loopback": func(c *AWSConfig) { c.Endpoint = "http://127.0.0.1:4566" },
	} {
		cfg := good
		change(&cfg)
		a, err := NewAWS(cfg)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if a.String() != "[aws:"+cfg.KeyARN+"]" {
			t.Errorf("%s: %s", name, a)
		}
	}
	for name, tt := range map[string]struct {
		field string
		spoil func(*AWSConfig)
	}{
		"no key": {"keyArn", func(c *AWSConfig) { c.KeyARN = "" }}, "an alias": {"keyArn", func(c *AWSConfig) { c.KeyARN = "arn:aws:kms:eu-central-1:123456789012:alias/x" }},
		"another service": {"keyArn", func(c *AWSConfig) { c.KeyARN = "arn:aws:s3:eu-central-1:123456789012:key/x" }}, "a bare id": {"keyArn", func(c *AWSConfig) { c.KeyARN = "1234" }},
		"a newline": {"keyArn", func(c *AWSConfig) { c.KeyARN += "\n" }}, "http": {"endpoint", func(c *AWSConfig) { c.Endpoint = "http://kms.example" }},
		"a path": {"endpoint", func(c *AWSConfig) { c.Endpoint = "https://kms.example/x" }}, "a user": {"endpoint", func(c *AWSConfig) { c.Endpoint = "https://u:p@kms.example" }},
		"no host": {"endpoint", func(c *AWSConfig) { c.Endpoint = "https://" }}, "authorities": {"ca", func(c *AWSConfig) { c.CAFile = "/does/not/exist" }},
	} {
		cfg := good
		tt.spoil(&cfg)
		if _, err := NewAWS(cfg); !isConfigError(err, tt.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func isConfigError(err error, field string) bool {
	wrong, ok := errors.AsType[*ConfigError](err)
	return ok && wrong.Field == field
}
