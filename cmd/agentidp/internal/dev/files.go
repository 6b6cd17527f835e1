package dev

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"

	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/manifests/envoy"
	"github.com/agentidp/agentidp/policies"
)

//go:embed templates
var templates embed.FS

// Demo is .agentidp/demo.json: the first organization and agent.
type Demo struct {
	ClientID       string `json:"client_id"`
	ClientSecret   string `json:"client_secret"`
	AgentID        string `json:"agent_id"`
	OrganizationID string `json:"organization_id"`
	Audience       string `json:"audience"`
}

// Endpoints is .agentidp/endpoints.json: where the system of this directory listens, for `agentidp token`.
type Endpoints struct {
	Issuer string `json:"issuer"`
	Envoy  string `json:"envoy"`
}

const (
	demoFile      = "demo.json"
	endpointsFile = "endpoints.json"
	curlFile      = "demo.curl" // the demo agent's id and secret in the form of curl -K, so that neither stands in a process list
	adminFile     = "admin.token"
	authorityFile = "ca.pem"
	socketFile    = "extauthz.sock"
	policyData    = "data.yaml"
)

// LoadDemo reads what agentidp dev wrote to dir.
func LoadDemo(dir string) (Demo, Endpoints, error) {
	var d Demo
	var e Endpoints
	for name, into := range map[string]any{demoFile: &d, endpointsFile: &e} {
		err := readJSON(filepath.Join(dir, name), into)
		if errors.Is(err, fs.ErrNotExist) {
			return d, e, fmt.Errorf("%s is not there: start the system with `agentidp dev` first, or name its state directory with -dir", filepath.Join(dir, name))
		}
		if err != nil {
			return d, e, err
		}
	}
	return d, e, nil
}

func readJSON(name string, into any) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (s *state) writeJSON(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.path(name), append(text, '\n'), 0o600)
}

// makeSecrets makes the secrets that are not there yet.
func (s *state) makeSecrets() error {
	if err := os.MkdirAll(s.path("secrets"), 0o700); err != nil {
		return err
	}
	for _, name := range []string{adminFile, "secrets/credential-hash.key"} {
		if err := ensureSecret(s.path(name)); err != nil {
			return err
		}
	}
	kek := s.path("secrets/kek.json")
	if _, err := os.Stat(kek); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	document, err := seal.GenerateKEK()
	if err != nil {
		return err
	}
	return writeFile(kek, document, 0o600)
}

// render writes a configuration file from a template. Configuration follows the flags: it is written at each start.
func (s *state) render(name, from string, params any) error {
	t, err := template.New(from).Funcs(template.FuncMap{"quote": quoteYAML}).ParseFS(templates, "templates/"+from)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, params); err != nil {
		return err
	}
	return writeFile(s.path(name), text.Bytes(), 0o600)
}

// quoteYAML makes a YAML double-quoted scalar: JSON strings are ones.
func quoteYAML(text string) (string, error) {
	quoted, err := json.Marshal(text)
	return string(quoted), err
}

func (s *state) writeEnvoy(port int, upstream string) error {
	text, err := envoy.Render(envoy.Params{Listen: loopback(port), Admin: "127.0.0.1:0", Socket: s.path(socketFile), Upstream: upstream})
	if err != nil {
		return fmt.Errorf("envoy.yaml: %w", err)
	}
	return writeFile(s.path("envoy.yaml"), text, 0o600)
}

// copyPolicies puts the mesh policy, with data for the demo service, where its operator can edit it. What is there is never touched again.
func (s *state) copyPolicies() error {
	to := s.path("policies/mesh")
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unfinished := to + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.CopyFS(unfinished, policies.Mesh()); err != nil {
		return err
	}
	data, err := fs.ReadFile(policies.Demo(), policyData)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(unfinished, policyData), data, 0o600); err != nil { // Mesh's allows nothing
		return err
	}
	return os.Rename(unfinished, to)
}

// writeRedisURL writes where the issuer counts, as a secret its configuration refers to: in production it has a password in it.
func (s *state) writeRedisURL(url string) error {
	return writeFile(s.path("secrets/redis.url"), []byte(url+"\n"), 0o600)
}

// writeDSNs writes how each role reaches the database, as secrets the issuer's configuration refers to.
func (s *state) writeDSNs(p *localsvc.Postgres) error {
	for file, role := range map[string]string{"app": "agentidp_app", "platform": "agentidp_platform", "owner": localsvc.Superuser} {
		if err := writeFile(s.path("secrets", file+".dsn"), []byte(p.DSN(role, database)+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}
