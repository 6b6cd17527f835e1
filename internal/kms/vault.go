package kms

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/seal"
)

// VaultConfig names a key of a transit engine. The key's type must be one that authenticates associated data: aes256-gcm96 (Vault's default) or chacha20-poly1305.
type VaultConfig struct {
	Address   string // https://vault.example:8200; http only for a loopback address
	Mount     string // of the engine: "transit"
	Key       string
	Namespace string        // may be empty
	Token     func() string // asked before each request, so that an agent may renew it; needs update on encrypt/<key> and decrypt/<key>
	CAFile    string        // extra roots, may be empty
}

// Vault is a seal.Wrapper.
type Vault struct {
	cfg    VaultConfig
	client *fetch.Client
}

var _ seal.Wrapper = (*Vault)(nil)

// nameForm of mounts and keys, as they stand in a path.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// NewVault checks the configuration and asks nothing yet.
func NewVault(cfg VaultConfig) (*Vault, error) {
	address, err := url.Parse(cfg.Address)
	if err != nil || address.Host == "" || address.Path != "" || address.RawQuery != "" || address.User != nil {
		return nil, &ConfigError{"address", "want https://host:port with nothing behind it"}
	}
	if !nameForm.MatchString(cfg.Mount) {
		return nil, &ConfigError{"mount", "want the name of a transit engine, such as transit"}
	}
	if !nameForm.MatchString(cfg.Key) {
		return nil, &ConfigError{"key", "want the name of a key"}
	}
	client, err := fetch.New(fetch.Config{
		CAFile: cfg.CAFile, BodyBytesMax: answerBytesMax, ContentTypes: []string{"application/json"}, AllowPrivate: true, AllowPlaintext: true,
	})
	if err != nil {
		return nil, caProblem(err)
	}
	return &Vault{cfg, client}, nil
}

// String implements seal.Wrapper.
func (v *Vault) String() string { return "[" + v.prefix() + "]" }

// prefix of the ids of the key's versions.
func (v *Vault) prefix() string { return "vault:" + v.cfg.Mount + "/" + v.cfg.Key + ":" }

// Owns implements seal.Wrapper.
func (v *Vault) Owns(keyID string) bool { return strings.HasPrefix(keyID, v.prefix()) }

// Current encrypts something of no worth and looks at the version that did it: that needs no more rights than wrapping does.
func (v *Vault) Current(ctx context.Context) (string, error) {
	_, keyID, err := v.Wrap(ctx, []byte("which version?"), []byte("agentidp-probe-v1"))
	return keyID, err
}

// Wrap implements seal.Wrapper.
func (v *Vault) Wrap(ctx context.Context, plaintext, associatedData []byte) ([]byte, string, error) {
	var answer struct{ Data struct{ Ciphertext string } }
	err := v.ask(ctx, "encrypt", map[string]string{"plaintext": encode(plaintext), "associated_data": encode(associatedData)}, &answer)
	if err != nil {
		return nil, "", err
	}
	version, ok := versionOf(answer.Data.Ciphertext)
	if !ok {
		return nil, "", errors.New("vault: the answer has no ciphertext")
	}
	return []byte(answer.Data.Ciphertext), v.prefix() + version, nil
}

// versionOf is v3 of vault:v3:….
func versionOf(ciphertext string) (string, bool) {
	rest, ok := strings.CutPrefix(ciphertext, "vault:")
	version, text, ok2 := strings.Cut(rest, ":")
	return version, ok && ok2 && len(version) >= 2 && len(version) <= 20 && version[0] == 'v' && text != ""
}

// Unwrap implements seal.Wrapper. Vault answers 400 for a ciphertext that does not authenticate.
func (v *Vault) Unwrap(ctx context.Context, wrapped, associatedData []byte) ([]byte, error) {
	if _, ok := versionOf(string(wrapped)); !ok {
		return nil, seal.ErrOpen
	}
	var answer struct{ Data struct{ Plaintext string } }
	err := v.ask(ctx, "decrypt", map[string]string{"ciphertext": string(wrapped), "associated_data": encode(associatedData)}, &answer)
	if status, ok := errors.AsType[*fetch.StatusError](err); ok && status.Code == http.StatusBadRequest {
		return nil, seal.ErrOpen
	}
	if err != nil {
		return nil, err
	}
	plaintext, err := base64.StdEncoding.DecodeString(answer.Data.Plaintext)
	if err != nil || len(plaintext) == 0 {
		return nil, errors.New("vault: the answer has no plaintext")
	}
	return plaintext, nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// ask is one request. What Vault says in an error is not repeated: it may name paths and policies.
func (v *Vault) ask(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	header := http.Header{"Content-Type": {"application/json"}, "X-Vault-Token": {v.cfg.Token()}, "X-Vault-Request": {"true"}}
	if v.cfg.Namespace != "" {
		header["X-Vault-Namespace"] = []string{v.cfg.Namespace}
	}
	answer, err := v.client.Ask(ctx, v.cfg.Address+"/v1/"+v.cfg.Mount+"/"+operation+"/"+v.cfg.Key, header, body)
	if err != nil {
		return classified(err)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return errors.New("vault: the answer is not what its API says")
	}
	return nil
}

// classified: 4xx is for the operator to mend (403: the token; 404: the mount or the key), anything else passes by itself (503: sealed, 429, 473: a standby).
func classified(err error) error {
	if status, ok := errors.AsType[*fetch.StatusError](err); ok && status.Code >= 300 && status.Code < 429 {
		return fmt.Errorf("vault: %w", err)
	}
	return unavailable(err)
}
