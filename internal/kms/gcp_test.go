package kms

import (
	"context"
	"crypto"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"hash/crc32"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/seal"
)

// cryptoKeys answers as the reference of Cloud KMS's gRPC API documents Encrypt and Decrypt, over real TLS: with checksums, and to a service account's signed token alone. It is not
// Google's.
type cryptoKeys struct {
	kmspb.UnimplementedKeyManagementServiceServer
	mu      sync.Mutex
	keys    map[string][]cipher.AEAD // versions by name
	account *rsa.PublicKey
	code    codes.Code // of every answer, when not 0
	name    string     // of the version in an answer, when not ""
	asked   int
}

const (
	gcpKey      = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k"
	gcpOtherKey = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k2"
)

func (f *cryptoKeys) rotate(t *testing.T) {
	t.Helper()
	gcm := newGCM(t)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys[gcpKey] = append(f.keys[gcpKey], gcm)
}

func (f *cryptoKeys) set(code codes.Code, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.code, f.name = code, name
}

func checksum(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }

// versions is called with mu held.
func (f *cryptoKeys) versions(ctx context.Context, name string, sums map[int64]int64) ([]cipher.AEAD, error) {
	f.asked++
	if f.code != codes.OK {
		return nil, status.Error(f.code, "canary: account@p.iam.gserviceaccount.com")
	}
	if !f.authentic(ctx) {
		return nil, status.Error(codes.Unauthenticated, "canary")
	}
	for want, got := range sums {
		if want != got {
			return nil, status.Error(codes.InvalidArgument, "checksum")
		}
	}
	versions, ok := f.keys[name]
	if !ok {
		return nil, status.Error(codes.NotFound, "canary")
	}
	return versions, nil
}

// authentic looks at the token that a service account signs for itself.
func (f *cryptoKeys) authentic(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	parts := strings.Split(strings.TrimPrefix(strings.Join(md.Get("authorization"), ""), "Bearer "), ".")
	if len(parts) != 3 {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return err == nil && rsa.VerifyPKCS1v15(f.account, crypto.SHA256, digest[:], signature) == nil
}

func (f *cryptoKeys) Encrypt(ctx context.Context, in *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	versions, err := f.versions(ctx, in.GetName(), map[int64]int64{
		checksum(in.GetPlaintext()): in.GetPlaintextCrc32C().GetValue(), checksum(in.GetAdditionalAuthenticatedData()): in.GetAdditionalAuthenticatedDataCrc32C().GetValue(),
	})
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 12)
	rand.Read(nonce)
	ciphertext := binary.BigEndian.AppendUint32(nil, uint32(len(versions)))
	ciphertext = append(ciphertext, versions[len(versions)-1].Seal(nonce, nonce, in.GetPlaintext(), in.GetAdditionalAuthenticatedData())...)
	name := in.GetName() + "/cryptoKeyVersions/" + strconv.Itoa(len(versions))
	if f.name != "" {
		name = f.name
	}
	return &kmspb.EncryptResponse{
		Name: name, Ciphertext: ciphertext, CiphertextCrc32C: wrapperspb.Int64(checksum(ciphertext)), VerifiedPlaintextCrc32C: true, VerifiedAdditionalAuthenticatedDataCrc32C: true,
	}, nil
}

func (f *cryptoKeys) Decrypt(ctx context.Context, in *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	versions, err := f.versions(ctx, in.GetName(), map[int64]int64{
		checksum(in.GetCiphertext()): in.GetCiphertextCrc32C().GetValue(), checksum(in.GetAdditionalAuthenticatedData()): in.GetAdditionalAuthenticatedDataCrc32C().GetValue(),
	})
	if err != nil {
		return nil, err
	}
	c := in.GetCiphertext()
	if len(c) < 16 || binary.BigEndian.Uint32(c) < 1 || int(binary.BigEndian.Uint32(c)) > len(versions) {
		return nil, status.Error(codes.InvalidArgument, "canary: the ciphertext is invalid")
	}
	plaintext, err := versions[binary.BigEndian.Uint32(c)-1].Open(nil, c[4:16], c[16:], in.GetAdditionalAuthenticatedData())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "canary: the ciphertext is invalid")
	}
	return &kmspb.DecryptResponse{Plaintext: plaintext, PlaintextCrc32C: wrapperspb.Int64(checksum(plaintext))}, nil
}

// serviceAccount is a credentials file. Its token_uri is a closed port: with a key of its own the account signs its tokens and asks nobody.
func serviceAccount(t *testing.T) (path string, key *rsa.PublicKey) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "1", "client_email": "issuer@p.iam.gserviceaccount.com", "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://127.0.0.1:1/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, &private.PublicKey
}

func newGCP(t *testing.T) (ours, other *GCP, fake *cryptoKeys) {
	t.Helper()
	account, public := serviceAccount(t)
	fake = &cryptoKeys{keys: map[string][]cipher.AEAD{gcpOtherKey: {newGCM(t)}}, account: public}
	fake.rotate(t)
	certificates := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(certificates.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: certificates.TLS.Certificates})))
	kmspb.RegisterKeyManagementServiceServer(server, fake)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	endpoint, ca := "https://"+listener.Addr().String(), authority(t, certificates)
	return mustGCP(t, GCPConfig{gcpKey, endpoint, account, ca}), mustGCP(t, GCPConfig{gcpOtherKey, endpoint, account, ca}), fake
}

func mustGCP(t *testing.T, cfg GCPConfig) *GCP {
	t.Helper()
	g, err := NewGCP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// As Vault and AWS do; and when the key gets a new version there, data keys move to it.
func TestGCPKeepsTheKey(t *testing.T) {
	t.Parallel()
	g, other, fake := newGCP(t)
	keepsTheKey(t, g, other, "gcp:"+gcpKey+":1", doesNotOpen)
	store, place := keysets{}, seal.Place{Table: "t", Column: "c", Organization: "org_1", Row: "1"}
	sealed, err := seal.New(seal.NewKEK(g), store).Seal(t.Context(), place, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	fake.rotate(t)
	for i, want := range []bool{true, false} {
		if changed, err := seal.New(seal.NewKEK(g), store).Rewrap(t.Context(), "org_1"); err != nil || changed != want {
			t.Errorf("rewrapping, time %d: %v, %v", i+1, changed, err)
		}
	}
	if id := store["org_1"].KEKID; id != "gcp:"+gcpKey+":2" {
		t.Errorf("after the rotation: %q", id)
	}
	if got, err := seal.New(seal.NewKEK(g), store).Open(t.Context(), place, sealed); err != nil || string(got) != "secret" {
		t.Errorf("after the rewrapping: %q, %v", got, err)
	}
}

// What passes by itself is Unavailable; what an operator must mend is not; nothing the service says, and no credential, is in an error.
func TestGCPTrouble(t *testing.T) {
	t.Parallel()
	g, _, fake := newGCP(t)
	wrapped, _, err := g.Wrap(t.Context(), []byte("data key"), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	for code, unavailable := range map[codes.Code]bool{
		codes.Unavailable: true, codes.ResourceExhausted: true, codes.Internal: true, codes.Unknown: true, codes.Aborted: true,
		codes.PermissionDenied: false, codes.NotFound: false, codes.Unauthenticated: false, codes.FailedPrecondition: false,
	} {
		fake.set(code, "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2) // Google's client repeats what is Unavailable until the time is over
		_, _, wrapErr := g.Wrap(ctx, []byte("x"), nil)
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second/2)
		_, err := g.Unwrap(ctx, wrapped, []byte("ad"))
		cancel()
		for _, err := range []error{wrapErr, err} {
			if got := problem.KindOf(err) == problem.Unavailable; err == nil || got != unavailable || errors.Is(err, seal.ErrOpen) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: %v", code, err)
			}
		}
	}
	// InvalidArgument is about the ciphertext only when there is one.
	fake.set(codes.InvalidArgument, "")
	if _, _, err := g.Wrap(t.Context(), []byte("x"), nil); err == nil || problem.KindOf(err) == problem.Unavailable || errors.Is(err, seal.ErrOpen) {
		t.Errorf("a refused Encrypt: %v", err)
	}
	// The id of the key goes into the database: an answer does not make it up.
	for _, name := range []string{gcpKey, gcpKey + "/cryptoKeyVersions/x", gcpKey + "/cryptoKeyVersions/1/2", gcpKey + "2/cryptoKeyVersions/1", gcpKey + "/cryptoKeyVersions/12345678901"} {
		fake.set(codes.OK, name)
		if _, id, err := g.Wrap(t.Context(), []byte("x"), nil); err == nil {
			t.Errorf("%s is %s", name, id)
		}
	}
}

func TestGCPDown(t *testing.T) {
	t.Parallel()
	account, _ := serviceAccount(t)
	down := httptest.NewTLSServer(nil)
	ca := authority(t, down)
	down.Close()
	isDown(t, mustGCP(t, GCPConfig{gcpKey, down.URL, account, ca}))
	silent(t, func(address, ca string) seal.Wrapper { return mustGCP(t, GCPConfig{gcpKey, address, account, ca}) })
}

// Without credentials the service is not asked: an operator must give some. What cannot be had for a moment is another matter.
func TestGCPWithoutCredentials(t *testing.T) {
	t.Parallel()
	g := mustGCP(t, GCPConfig{Key: gcpKey, Endpoint: "https://127.0.0.1:1"})
	if _, _, err := g.Wrap(t.Context(), []byte("x"), nil); err == nil || problem.KindOf(err) == problem.Unavailable || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("a file that is not there: %v", err)
	}
	for message, unavailable := range map[string]bool{noCredentials + " due to error: x": true, "x": false} {
		if err := gcpClassified("Encrypt", status.Error(codes.Unauthenticated, message)); (problem.KindOf(err) == problem.Unavailable) != unavailable {
			t.Errorf("%s: %v", message, err)
		}
	}
}

// A federated workload changes its own token for Google's somewhere; where that is not there, the credentials cannot be had, and that is no refusal.
func TestGCPCredentialsNotToBeHad(t *testing.T) {
	t.Parallel()
	g, _, fake := newGCP(t)
	dir := t.TempDir()
	subject, account := filepath.Join(dir, "token"), filepath.Join(dir, "workload.json")
	text := `{"type":"external_account","audience":"//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x","subject_token_type":"urn:ietf:params:oauth:token-type:jwt",` +
		`"token_url":"https://127.0.0.1:1/token","credential_source":{"file":"` + subject + `"}}`
	for path, text := range map[string]string{subject: "canary", account: text} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g = mustGCP(t, GCPConfig{gcpKey, g.cfg.Endpoint, account, g.cfg.CAFile})
	if _, _, err := g.Wrap(t.Context(), []byte("x"), nil); problem.KindOf(err) != problem.Unavailable || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
	if fake.asked != 0 {
		t.Error("asked without credentials")
	}
}

func TestGCPConfigIsChecked(t *testing.T) {
	t.Parallel()
	account, _ := serviceAccount(t)
	person := filepath.Join(t.TempDir(), "person.json")
	if err := os.WriteFile(person, []byte(`{"type":"authorized_user","refresh_token":"canary"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	good := GCPConfig{Key: gcpKey, CredentialsFile: account}
	if g := mustGCP(t, good); g.String() != "[gcp:"+gcpKey+":]" {
		t.Errorf("%s", g)
	}
	for name, tt := range map[string]struct {
		field string
		spoil func(*GCPConfig)
	}{
		"no key": {"key", func(c *GCPConfig) { c.Key = "" }}, "a version": {"key", func(c *GCPConfig) { c.Key += "/cryptoKeyVersions/1" }},
		"a key ring": {"key", func(c *GCPConfig) { c.Key = "projects/p/locations/l/keyRings/r" }}, "a scheme": {"key", func(c *GCPConfig) { c.Key = "gcp-kms://" + gcpKey }},
		"too long": {"key", func(c *GCPConfig) {
			c.Key = "projects/" + strings.Repeat("p", 80) + "/locations/l/keyRings/" + strings.Repeat("r", 63) + "/cryptoKeys/" + strings.Repeat("k", 63)
		}},
		"http": {"endpoint", func(c *GCPConfig) { c.Endpoint = "http://127.0.0.1:1" }}, "no scheme": {"endpoint", func(c *GCPConfig) { c.Endpoint = "kms.example:443" }},
		"no file": {"credentialsFile", func(c *GCPConfig) { c.CredentialsFile = "/does/not/exist" }}, "a person": {"credentialsFile", func(c *GCPConfig) { c.CredentialsFile = person }},
		"authorities": {"ca", func(c *GCPConfig) { c.CAFile = account }},
	} {
		cfg := good
		tt.spoil(&cfg)
		if _, err := NewGCP(cfg); !isConfigError(err, tt.field) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
