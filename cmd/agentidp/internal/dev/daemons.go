package dev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/agentidp/agentidp/cmd/agentidp/internal/issuerclient"
	"github.com/agentidp/agentidp/internal/localsvc"
)

// DemoAudience is what the demo agent's tokens are for.
const DemoAudience = "svc://demo"

// issuerConfig fills templates/issuer.yaml.
type issuerConfig struct {
	Issuer, Listen, Metrics string
	Migrates                bool
}

// extauthzConfig fills templates/extauthz.yaml.
type extauthzConfig struct {
	SocketURL, ListenURL, Metrics   string
	Issuer, KeysURL, RevocationsURL string
	Audience                        string
}

// migrate brings roles and schema up to date, in a process of its own as an operator would do it: the issuer that serves has not the rights to.
func (s *Stack) migrate(ctx context.Context, step *step) error {
	for _, name := range []string{"issuer.yaml", "migrate.yaml"} {
		err := s.state.render(name, "issuer.yaml", issuerConfig{
			Issuer: s.IssuerURL(), Listen: loopback(s.Ports.Issuer), Metrics: loopback(s.Ports.IssuerMetrics), Migrates: name == "migrate.yaml",
		})
		if err != nil {
			return err
		}
	}
	p, err := localsvc.Start(localsvc.Command{
		Name: "issuer -migrate", Path: s.programs.issuer, Args: []string{"-config", s.state.path("migrate.yaml"), "-migrate"},
		LogFile: s.logFile("migrate"), Env: s.environment(),
	})
	if err != nil {
		return err
	}
	if err := p.Finish(ctx); err != nil {
		return err
	}
	step.done("up to date")
	return nil
}

func (s *Stack) startIssuer(ctx context.Context, step *step) error {
	p, err := s.daemon(ctx, "issuer", s.programs.issuer, s.Ports.IssuerMetrics, s.Ports.Issuer)
	if err != nil {
		return err
	}
	step.started(s.IssuerURL(), p)
	return nil
}

func (s *Stack) startExtauthz(ctx context.Context, step *step) error {
	if err := s.state.copyPolicies(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.state.path("extauthz"), 0o700); err != nil {
		return err
	}
	err := s.state.render("extauthz.yaml", "extauthz.yaml", extauthzConfig{
		SocketURL: "unix://" + s.state.path(socketFile), ListenURL: "tcp://" + loopback(s.Ports.Extauthz), Metrics: loopback(s.Ports.ExtauthzMetrics),
		Issuer: s.IssuerURL(), KeysURL: s.IssuerURL() + "/.well-known/jwks.json", RevocationsURL: s.IssuerURL() + "/revocations",
		Audience: s.Demo.Audience,
	})
	if err != nil {
		return err
	}
	p, err := s.daemon(ctx, "extauthz", s.programs.extauthz, s.Ports.ExtauthzMetrics, s.Ports.Extauthz)
	if err != nil {
		return err
	}
	step.started(s.progress.short(s.state.path(socketFile))+", "+loopback(s.Ports.Extauthz), p)
	return nil
}

// RestartExtauthz starts extauthz again after it was killed.
func (s *Stack) RestartExtauthz(ctx context.Context) error {
	return s.run(ctx, "extauthz", s.startExtauthz)
}

// ensureDemo creates the first organization and agent through the API, as an operator would, unless demo.json is there.
func (s *Stack) ensureDemo(ctx context.Context, step *step) error {
	var demo Demo
	err := readJSON(s.state.path(demoFile), &demo)
	created := errors.Is(err, fs.ErrNotExist)
	if created {
		demo, err = s.createDemo(ctx)
	}
	if err != nil {
		return fmt.Errorf("demo agent: %w", err)
	}
	s.Demo = demo
	curl := fmt.Sprintf("user = %q\n", demo.ClientID+":"+demo.ClientSecret)
	if err := writeFile(s.state.path(curlFile), []byte(curl), 0o600); err != nil {
		return err
	}
	what := "kept"
	if created {
		what = "created"
	}
	step.done(s.progress.short(s.state.path(demoFile)), "("+what+")")
	return nil
}

func (s *Stack) createDemo(ctx context.Context) (Demo, error) {
	client, err := s.Client()
	if err != nil {
		return Demo{}, err
	}
	demo, err := CreateAgent(ctx, client, "demo")
	if err != nil {
		return Demo{}, err
	}
	return demo, s.state.writeJSON(demoFile, demo)
}

// CreateAgent creates an organization and in it an agent with a secret, who may ask for tokens to read and write the demo service's orders.
// A slug left over from an attempt that was cut off is gone around.
func CreateAgent(ctx context.Context, client *issuerclient.Client, slug string) (Demo, error) {
	const attemptsMax = 20
	var org issuerclient.Organization
	var err error
	for attempt := range attemptsMax {
		name := slug
		if attempt > 0 {
			name = fmt.Sprintf("%s-%d", slug, attempt+1)
		}
		org, err = client.CreateOrganization(ctx, issuerclient.Organization{Slug: name, DisplayName: "Demo organization"})
		if !issuerclient.IsConflict(err) {
			break
		}
	}
	if err != nil {
		return Demo{}, err
	}
	agent, err := client.CreateAgent(ctx, issuerclient.Agent{
		OrganizationID: org.ID, Name: "demo-agent", Type: "assistant", Description: "Made by agentidp dev.",
		Capabilities: []string{"orders"}, Scopes: []string{"orders:read", "orders:write"}, Audiences: []string{DemoAudience},
	})
	if err != nil {
		return Demo{}, err
	}
	secret, err := client.CreateSecret(ctx, agent.ID)
	if err != nil {
		return Demo{}, err
	}
	return Demo{ClientID: secret.ClientID, ClientSecret: secret.ClientSecret, AgentID: agent.ID, OrganizationID: org.ID, Audience: DemoAudience}, nil
}

func readSecret(name string) (string, error) {
	text, err := os.ReadFile(name)
	return strings.TrimSpace(string(text)), err
}
