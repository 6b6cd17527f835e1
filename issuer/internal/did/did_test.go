package did_test

import (
	"net/url"
	"testing"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/did"
)

func TestAgentDIDs(t *testing.T) {
	t.Parallel()
	id, err := agentid.Parse[agentid.Agent]("agt_0199f6c3d5e67f108a2b3c4d5e6f7081")
	if err != nil {
		t.Fatal(err)
	}
	for issuer, want := range map[string]string{
		"https://localhost:8443":     "did:web:localhost%3A8443:agents:agt_0199f6c3d5e67f108a2b3c4d5e6f7081",
		"https://ID.Example.com":     "did:web:id.example.com:agents:agt_0199f6c3d5e67f108a2b3c4d5e6f7081",
		"http://id.example.com":      "",
		"https://id.example.com/a":   "",
		"https://[::1]:8443":         "",
		"https://":                   "",
		"https://id.example.com:443": "did:web:id.example.com%3A443:agents:agt_0199f6c3d5e67f108a2b3c4d5e6f7081",
	} {
		u, err := url.Parse(issuer)
		if err != nil {
			t.Fatal(err)
		}
		n, err := did.NewNamespace(u)
		if (err == nil) != (want != "") {
			t.Errorf("%s: error %v", issuer, err)
		}
		if err == nil && n.Agent(id) != want {
			t.Errorf("%s: %s, want %s", issuer, n.Agent(id), want)
		}
	}
}
