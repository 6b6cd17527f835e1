package issuers

import (
	"context"
	"testing"

	"github.com/agentidp/agentidp/internal/agentid"
)

// The table is the isolation of organizations at every endpoint that knows an issuer.
func TestAdmits(t *testing.T) {
	t.Parallel()
	a, b, nobody := agentid.New[agentid.Organization](), agentid.New[agentid.Organization](), agentid.Organization{}
	instance, ofA := Issuer{ID: "https://id.example.com"}, Issuer{ID: "https://id.example.com/o/a", Organization: a}
	for _, tt := range []struct {
		name string
		in   Issuer
		org  agentid.Organization
		want bool
	}{
		{"the instance admits an organization", instance, a, true},
		{"an organization admits itself", ofA, a, true},
		{"an organization refuses another", ofA, b, false},
		{"the instance refuses nobody's", instance, nobody, false},
		{"an organization refuses nobody's", ofA, nobody, false},
		{"no issuer admits nobody", Issuer{}, nobody, false},
		{"no issuer admits no one", Issuer{}, a, false},
	} {
		if got := tt.in.Admits(tt.org); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	if i := From(context.Background()); i.ID != "" || i.Keys != nil {
		t.Errorf("an issuer out of nowhere: %+v", i)
	}
	if i := From(With(context.Background(), Issuer{ID: "https://id.example.com"})); i.URL("/oauth2/token") != "https://id.example.com/oauth2/token" {
		t.Errorf("%+v", i)
	}
}
