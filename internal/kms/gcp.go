package kms

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/tink-crypto/tink-go-gcpkms/v2/integration/gcpkms"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/seal"
)

// GCPConfig names a symmetric key (purpose ENCRYPT_DECRYPT) of Google Cloud KMS. Credentials are the application's default ones (environment, gcloud's file, instance) or those of a
// file, and may cloudkms.cryptoKeyVersions.useToEncrypt and useToDecrypt; they are looked for at the first use.
type GCPConfig struct {
	Key             string // projects/…/locations/…/keyRings/…/cryptoKeys/…, without a version: its primary wraps
	Endpoint        string // https://host:port; "" is Google's
	CredentialsFile string // a service account's or a federated workload's, may be empty
	CAFile          string // extra roots for the endpoint, may be empty
}

// GCP is a seal.Wrapper.
type GCP struct {
	cfg         GCPConfig
	credentials option.CredentialsType
	lazyAEAD
}

var _ seal.Wrapper = (*GCP)(nil)

// cryptoKeyForm is the name of a key.
var cryptoKeyForm = regexp.MustCompile(`^projects/[a-z0-9.:-]{1,80}/locations/[a-z0-9-]{1,40}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}$`)

// versionForm is the number of a key's version.
var versionForm = regexp.MustCompile(`^[1-9][0-9]{0,9}$`)

// NewGCP checks the configuration and asks nothing yet.
func NewGCP(cfg GCPConfig) (*GCP, error) {
	g := &GCP{cfg: cfg}
	if !cryptoKeyForm.MatchString(cfg.Key) {
		return nil, &ConfigError{"key", "want the name of a key without a version: projects/…/locations/…/keyRings/…/cryptoKeys/…"}
	}
	if len(g.prefix())+len("4294967295") > keyIDBytesMax {
		return nil, &ConfigError{"key", "is too long"}
	}
	if err := checkEndpoint(cfg.Endpoint, cfg.CAFile, false); err != nil {
		return nil, err
	}
	if cfg.CredentialsFile != "" {
		kind, err := credentialsType(cfg.CredentialsFile)
		if err != nil {
			return nil, &ConfigError{"credentialsFile", err.Error()}
		}
		g.credentials = kind
	}
	g.connect = g.dial
	return g, nil
}

// credentialsType reads what a file says it is. A person's credentials (authorized_user) are none for a server.
func credentialsType(path string) (option.CredentialsType, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var file struct{ Type option.CredentialsType }
	if json.Unmarshal(text, &file) != nil || !slices.Contains([]option.CredentialsType{option.ServiceAccount, option.ExternalAccount, option.ImpersonatedServiceAccount}, file.Type) {
		return "", errors.New("want a JSON document of type service_account, external_account or impersonated_service_account")
	}
	return file.Type, nil
}

func (g *GCP) dial(ctx context.Context) (aead, error) {
	options := []option.ClientOption{
		option.WithTelemetryDisabled(),
		option.WithGRPCConnectionPool(1),
		option.WithGRPCDialOption(grpc.WithUnaryInterceptor(noteCall)),
		option.WithGRPCDialOption(grpc.WithIdleTimeout(time.Minute)), // it is asked rarely
		option.WithGRPCDialOption(grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytesMax))),
	}
	if g.cfg.Endpoint != "" {
		u, err := url.Parse(g.cfg.Endpoint)
		if err != nil {
			return nil, fmt.Errorf("gcp: %w", err)
		}
		if u.Port() == "" {
			u.Host += ":443"
		}
		options = append(options, option.WithEndpoint(u.Host))
	}
	if g.cfg.CAFile != "" {
		roots, err := fetch.Roots(g.cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("gcp: %w", err)
		}
		options = append(options, option.WithGRPCDialOption(grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}))))
	}
	if g.cfg.CredentialsFile != "" {
		options = append(options, option.WithAuthCredentialsFile(g.credentials, g.cfg.CredentialsFile))
	}
	key, err := gcpkms.GetAEADWithContext(ctx, "gcp-kms://"+g.cfg.Key, gcpkms.WithGoogleAPIClientOptions(options...))
	if err != nil {
		return nil, fmt.Errorf("gcp: %w", err)
	}
	return key, nil
}

// call is what Google's client and Tink's AEAD keep to themselves about one call.
type call struct {
	version string // the name of the key version that encrypted
	err     error  // of the last attempt that was not cut short: the client repeats what is Unavailable until the caller's time is over, and then tells only that
}

// callNoted is the context's key of a *call.
type callNoted struct{}

func noteCall(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, conn, options...)
	noted, ok := ctx.Value(callNoted{}).(*call)
	if !ok {
		return err
	}
	if answer, ok := reply.(*kmspb.EncryptResponse); ok && err == nil {
		noted.version = answer.GetName()
	}
	if err != nil && ctx.Err() == nil {
		noted.err = err
	}
	return err
}

// explain is why the time was over, where an attempt had told.
func (c *call) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil && c.err != nil {
		return c.err
	}
	return err
}

// String implements seal.Wrapper.
func (g *GCP) String() string { return "[" + g.prefix() + "]" }

// prefix of the ids of the key's versions.
func (g *GCP) prefix() string { return "gcp:" + g.cfg.Key + ":" }

// Owns implements seal.Wrapper.
func (g *GCP) Owns(keyID string) bool { return strings.HasPrefix(keyID, g.prefix()) }

// Current encrypts something of no worth and looks at the version that did it: that needs no more rights than wrapping does.
func (g *GCP) Current(ctx context.Context) (string, error) {
	_, keyID, err := g.Wrap(ctx, []byte("which version?"), []byte("agentidp-probe-v1"))
	return keyID, err
}

// Wrap implements seal.Wrapper.
func (g *GCP) Wrap(ctx context.Context, plaintext, associatedData []byte) ([]byte, string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, err := g.get(ctx)
	if err != nil {
		return nil, "", err
	}
	var noted call
	wrapped, err := key.EncryptWithContext(context.WithValue(ctx, callNoted{}, &noted), plaintext, associatedData)
	if err != nil {
		return nil, "", gcpClassified("Encrypt", noted.explain(ctx, err))
	}
	version, ok := strings.CutPrefix(noted.version, g.cfg.Key+"/cryptoKeyVersions/")
	if !ok || !versionForm.MatchString(version) || len(wrapped) == 0 {
		return nil, "", errors.New("gcp: the answer is not what its API says")
	}
	return wrapped, g.prefix() + version, nil
}

// Unwrap implements seal.Wrapper. Google says InvalidArgument for a ciphertext that does not authenticate, or is another key's.
func (g *GCP) Unwrap(ctx context.Context, wrapped, associatedData []byte) ([]byte, error) {
	if len(wrapped) == 0 {
		return nil, seal.ErrOpen
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, err := g.get(ctx)
	if err != nil {
		return nil, err
	}
	var noted call
	plaintext, err := key.DecryptWithContext(context.WithValue(ctx, callNoted{}, &noted), wrapped, associatedData)
	if status.Code(err) == codes.InvalidArgument {
		return nil, seal.ErrOpen
	}
	if err != nil {
		return nil, gcpClassified("Decrypt", noted.explain(ctx, err))
	}
	if len(plaintext) == 0 {
		return nil, errors.New("gcp: the answer has no plaintext")
	}
	return plaintext, nil
}

// forOperators are the answers that do not pass by themselves.
var forOperators = []codes.Code{codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented}

// noCredentials opens the message of a call that was not made for want of credentials: gRPC gives it the code of a refused call.
const noCredentials = "transport: per-RPC creds failed"

// ownMessages open what gRPC says by itself when the other side was not reached; it tells the operator why.
var ownMessages = []string{noCredentials, "connection error:", "name resolver error:"}

// gcpClassified repeats the code and not the service's message, which may name principals. Credentials that cannot be had are Unavailable, with the reason: whether the place they
// come from is gone for now or for good cannot be told. So are checksums that do not match, which Tink compares.
func gcpClassified(operation string, err error) error {
	s, ok := status.FromError(err)
	if !ok || slices.ContainsFunc(ownMessages, func(opening string) bool { return strings.HasPrefix(s.Message(), opening) }) {
		return unavailable(fmt.Errorf("gcp: %w", err))
	}
	told := fmt.Errorf("gcp: %s was answered %s", operation, s.Code())
	if slices.Contains(forOperators, s.Code()) {
		return told
	}
	return unavailable(told)
}
