// Package kms keeps the key-encryption key elsewhere: in the transit engine of HashiCorp Vault or OpenBao, in AWS KMS or in Google Cloud KMS. The key never leaves it; the issuer
// sends data keys to be wrapped and unwrapped, once per organization and process, never for a single secret.
package kms

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/problem"
)

// answerBytesMax of a service: a wrapped data key has some hundred bytes.
const answerBytesMax = 64 << 10

// retryAfter is what a caller is told while a service cannot be asked.
const retryAfter = time.Second

// callTimeout bounds what a cloud is asked once: getting credentials and the repetitions of its client included.
const callTimeout = 5 * time.Second

// keyIDBytesMax is what the database holds.
const keyIDBytesMax = 256

// ConfigError is a field that cannot be used, by its name in the configuration.
type ConfigError struct{ Field, Problem string }

func (e *ConfigError) Error() string { return e.Field + ": " + e.Problem }

// unavailable is for whatever passes by itself.
func unavailable(err error) error {
	return &problem.Error{Kind: problem.Unavailable, Code: "kms_unavailable", Detail: "the key management service cannot be reached", RetryAfter: retryAfter, Err: err}
}

// aead is tink.AEADWithContext.
type aead interface {
	EncryptWithContext(ctx context.Context, plaintext, associatedData []byte) ([]byte, error)
	DecryptWithContext(ctx context.Context, ciphertext, associatedData []byte) ([]byte, error)
}

// lazyAEAD is connected at its first use and not before: looking for credentials may ask the network, which checking a configuration must not.
type lazyAEAD struct {
	connect func(ctx context.Context) (aead, error)

	mu    sync.Mutex // held while connecting: whoever comes meanwhile needs the same
	ready aead
}

// get does not bind what it connects to the caller's context: credentials are renewed long after the caller has gone. What failed is tried again by the next caller.
func (l *lazyAEAD) get(ctx context.Context) (aead, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ready == nil {
		ready, err := l.connect(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		l.ready = ready
	}
	return l.ready, nil
}

// checkEndpoint accepts https://host:port, http for a loopback address where plaintext is, and "": the cloud's own.
func checkEndpoint(endpoint, caFile string, plaintext bool) error {
	want := &ConfigError{"endpoint", "want https://host or https://host:port with nothing behind it"}
	if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Scheme+"://"+u.Host != endpoint || u.Hostname() == "") {
		return want
	}
	guard, err := fetch.New(fetch.Config{CAFile: caFile, ContentTypes: []string{"application/json"}, AllowPrivate: true, AllowPlaintext: plaintext})
	if err != nil {
		return caProblem(err)
	}
	if endpoint != "" && guard.CheckURL(endpoint) != nil {
		return want
	}
	return nil
}

// caProblem is what fetch has to say about the only thing it is given that can be wrong.
func caProblem(err error) error {
	return &ConfigError{"ca", err.Error()}
}
