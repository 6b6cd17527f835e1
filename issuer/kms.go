package issuer

import (
	"errors"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/kms"
	"github.com/agentidp/agentidp/internal/seal"
)

// KMS is the key management services that keep the key-encryption key. One place wraps, the others given only open what they wrapped before.
type KMS struct {
	// Primary is the place that wraps: vault, aws, gcp, or kek for the file. It may be left out where one service is given, which is the one then.
	Primary string `yaml:"primary"`

	Vault *Vault `yaml:"vault"`
	AWS   *AWS   `yaml:"aws"`
	GCP   *GCP   `yaml:"gcp"`
}

// Vault is the transit engine of HashiCorp Vault or OpenBao.
type Vault struct {
	Address   string        `yaml:"address"` // https://host:port
	Mount     string        `yaml:"mount"`   // default transit
	Key       string        `yaml:"key"`
	Namespace string        `yaml:"namespace"`
	Token     config.Secret `yaml:"token"` // may use encrypt/<key> and decrypt/<key>; a file is followed
	CA        config.Path   `yaml:"ca"`
}

// SetDefaults implements the contract of package config.
func (v *Vault) SetDefaults() { v.Mount = "transit" }

// AWS is a symmetric key of AWS KMS. The credentials are those of the SDK's standard chain.
type AWS struct {
	KeyARN   string      `yaml:"keyArn"`   // of a key, not of an alias; its region is the one that is asked
	Endpoint string      `yaml:"endpoint"` // https://host:port; default the region's
	CA       config.Path `yaml:"ca"`       // of the endpoint
}

// GCP is a symmetric key of Google Cloud KMS. Without CredentialsFile the credentials are the application's default ones.
type GCP struct {
	Key             string      `yaml:"key"`      // projects/…/locations/…/keyRings/…/cryptoKeys/…
	Endpoint        string      `yaml:"endpoint"` // https://host:port; default Google's
	CredentialsFile config.Path `yaml:"credentialsFile"`
	CA              config.Path `yaml:"ca"` // of the endpoint
}

// kekPlace is a place that was given for the key-encryption key, by its name in kms.primary. Its wrapper is nil when the configuration of it is wrong.
type kekPlace struct {
	name    string
	wrapper seal.Wrapper
}

// kek is the key-encryption key of the configuration. It asks nobody.
func (c *Config) kek() (*seal.KEK, error) {
	var r config.Report
	kek := c.checkKEK(&r)
	return kek, r.Err()
}

// checkKEK is kek for a configuration that is being checked: nil when something was reported.
func (c *Config) checkKEK(r *config.Report) *seal.KEK {
	var places []kekPlace
	if c.KMS != nil {
		places = c.KMS.services(r)
	}
	services := len(places)
	if c.KMS == nil || c.KEK.IsSet() {
		w, err := seal.ParseWrapper([]byte(c.KEK.Reveal()))
		switch {
		case !c.KEK.IsSet():
			r.Errorf("kek", "is required: make one with `issuer -generate-kek`, or give kms")
		case err != nil:
			r.Errorf("kek", "%v", err)
		}
		places = append(places, kekPlace{"kek", w})
	}
	if c.KMS != nil && !c.KMS.primaryFirst(r, places, services) {
		return nil
	}
	var wrappers []seal.Wrapper
	for _, p := range places {
		if p.wrapper == nil {
			return nil
		}
		wrappers = append(wrappers, p.wrapper)
	}
	return seal.NewKEK(wrappers[0], wrappers[1:]...)
}

// primaryFirst brings the place that wraps to the front, and reports whether it is known which one does.
func (k *KMS) primaryFirst(r *config.Report, places []kekPlace, services int) bool {
	var names []string
	for _, p := range places {
		names = append(names, p.name)
	}
	switch i := slices.Index(names, k.Primary); {
	case services == 0:
		r.Errorf("kms", "one of vault, aws and gcp is required")
		return false
	case k.Primary == "" && services > 1:
		r.Errorf("kms.primary", "is required beside more than one service: one of %s", strings.Join(names, ", "))
		return false
	case k.Primary != "" && i < 0:
		r.Errorf("kms.primary", "names no place that is given, want one of %s", strings.Join(names, ", "))
		return false
	case i > 0:
		places[0], places[i] = places[i], places[0]
	}
	return true
}

// services that are given.
func (k *KMS) services(r *config.Report) []kekPlace {
	var places []kekPlace
	add := func(name string, w seal.Wrapper, err error) {
		if wrong, ok := errors.AsType[*kms.ConfigError](err); ok {
			r.Errorf("kms."+name+"."+wrong.Field, "%s", wrong.Problem)
		} else if err != nil {
			r.Errorf("kms."+name, "%v", err)
		}
		if err != nil {
			w = nil
		}
		places = append(places, kekPlace{name, w})
	}
	if v := k.Vault; v != nil {
		w, err := kms.NewVault(kms.VaultConfig{Address: v.Address, Mount: v.Mount, Key: v.Key, Namespace: v.Namespace, Token: v.Token.Follow(), CAFile: string(v.CA)})
		if !v.Token.IsSet() {
			err = &kms.ConfigError{Field: "token", Problem: "is required"}
		}
		add("vault", w, err)
	}
	if a := k.AWS; a != nil {
		w, err := kms.NewAWS(kms.AWSConfig{KeyARN: a.KeyARN, Endpoint: a.Endpoint, CAFile: string(a.CA)})
		add("aws", w, err)
	}
	if g := k.GCP; g != nil {
		w, err := kms.NewGCP(kms.GCPConfig{Key: g.Key, Endpoint: g.Endpoint, CredentialsFile: string(g.CredentialsFile), CAFile: string(g.CA)})
		add("gcp", w, err)
	}
	return places
}
