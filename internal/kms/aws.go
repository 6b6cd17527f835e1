package kms

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awssdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/tink-crypto/tink-go-awskms/v3/integration/awskms"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/seal"
)

// AWSConfig names a symmetric key of AWS KMS. Credentials come from the SDK's own chain (environment, shared files, web identity, container, instance) and may kms:Encrypt and
// kms:Decrypt with the key; they are looked for at the first use.
type AWSConfig struct {
	KeyARN   string // arn:aws:kms:eu-central-1:111122223333:key/…; an alias may come to mean another key, which would not open what the first one wrapped
	Endpoint string // "" is the one of the key's region; http only for a loopback address
	CAFile   string // extra roots for the endpoint, may be empty
}

// AWS is a seal.Wrapper.
//
// The associated data is the encryption context {"associatedData": hex}: another spelling would open nothing that was wrapped before. AWS writes it to CloudTrail in clear; it
// names the organization and holds nothing secret.
type AWS struct {
	cfg    AWSConfig
	region string
	lazyAEAD
}

var _ seal.Wrapper = (*AWS)(nil)

// keyARNForm of keys in every partition (aws, aws-cn, aws-us-gov), multi-region keys (mrk-…) included.
var keyARNForm = regexp.MustCompile(`^arn:aws[a-z-]{0,20}:kms:([a-z]{2}[a-z0-9-]{2,40}):[0-9]{12}:key/[A-Za-z0-9-]{1,64}$`)

// NewAWS checks the configuration and asks nothing yet.
func NewAWS(cfg AWSConfig) (*AWS, error) {
	parts := keyARNForm.FindStringSubmatch(cfg.KeyARN)
	if parts == nil {
		return nil, &ConfigError{"keyArn", "want the ARN of a key and not of an alias, such as arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"}
	}
	if err := checkEndpoint(cfg.Endpoint, cfg.CAFile, true); err != nil {
		return nil, err
	}
	a := &AWS{cfg: cfg, region: parts[1]}
	a.connect = a.dial
	return a, nil
}

func (a *AWS) dial(ctx context.Context) (aead, error) {
	sdk, err := config.LoadDefaultConfig(ctx, config.WithRegion(a.region))
	if err != nil {
		return nil, fmt.Errorf("aws: %w", err)
	}
	var options []func(*awssdk.Options)
	if a.cfg.Endpoint != "" {
		options = append(options, func(o *awssdk.Options) { o.BaseEndpoint = &a.cfg.Endpoint })
	}
	if a.cfg.CAFile != "" {
		roots, err := fetch.Roots(a.cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("aws: %w", err)
		}
		client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
		})
		options = append(options, func(o *awssdk.Options) { o.HTTPClient = client })
	}
	return awskms.NewAEADWithContext(ctx, a.cfg.KeyARN,
		awskms.WithKMS(awssdk.NewFromConfig(sdk, options...)), awskms.WithEncryptionContextName(awskms.AssociatedData))
}

// String implements seal.Wrapper.
func (a *AWS) String() string { return "[" + a.keyID() + "]" }

// keyID has no version: AWS rotates the material of a key behind its ARN, and finds the one that a ciphertext needs by itself.
func (a *AWS) keyID() string { return "aws:" + a.cfg.KeyARN }

// Owns implements seal.Wrapper.
func (a *AWS) Owns(keyID string) bool { return keyID == a.keyID() }

// Current implements seal.Wrapper. It asks nobody.
func (a *AWS) Current(context.Context) (string, error) { return a.keyID(), nil }

// Wrap implements seal.Wrapper.
func (a *AWS) Wrap(ctx context.Context, plaintext, associatedData []byte) ([]byte, string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, err := a.get(ctx)
	if err != nil {
		return nil, "", err
	}
	wrapped, err := key.EncryptWithContext(ctx, plaintext, associatedData)
	if err != nil {
		return nil, "", awsClassified("Encrypt", err)
	}
	if len(wrapped) == 0 {
		return nil, "", errors.New("aws: the answer has no ciphertext")
	}
	return wrapped, a.keyID(), nil
}

// Unwrap implements seal.Wrapper. AWS says InvalidCiphertext for a ciphertext that does not authenticate, IncorrectKey for one of another of its keys.
func (a *AWS) Unwrap(ctx context.Context, wrapped, associatedData []byte) ([]byte, error) {
	if len(wrapped) == 0 {
		return nil, seal.ErrOpen
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, err := a.get(ctx)
	if err != nil {
		return nil, err
	}
	plaintext, err := key.DecryptWithContext(ctx, wrapped, associatedData)
	if api, ok := errors.AsType[smithy.APIError](err); ok && (api.ErrorCode() == "InvalidCiphertextException" || api.ErrorCode() == "IncorrectKeyException") {
		return nil, seal.ErrOpen
	}
	if err != nil {
		return nil, awsClassified("Decrypt", err)
	}
	if len(plaintext) == 0 {
		return nil, errors.New("aws: the answer has no plaintext")
	}
	return plaintext, nil
}

// errorCodeForm of what is repeated of an answer; the message beside it may name principals and policies, and is not.
var errorCodeForm = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// awsClassified: 4xx is for the operator to mend, unless it is throttling, which AWS answers with 400. Credentials that cannot be had are Unavailable, with the reason: whether the
// place they come from is gone for now or for good cannot be told.
func awsClassified(operation string, err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return unavailable(fmt.Errorf("aws: %w", err))
	}
	status := 0
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = answer.HTTPStatusCode()
	}
	code := api.ErrorCode()
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	if !errorCodeForm.MatchString(code) {
		code = "something else"
	}
	told := fmt.Errorf("aws: %s was answered %d %s", operation, status, code)
	if status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests && !throttled {
		return told
	}
	return unavailable(told)
}
