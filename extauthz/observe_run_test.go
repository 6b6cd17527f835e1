package extauthz_test

import (
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// The process with a log service, a candidate policy and explanations, as an operator configures them.
func TestRunWithObservers(t *testing.T) {
	t.Parallel()
	batches := make(chan string, 16)
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		text, err := io.ReadAll(unpacked)
		if err != nil {
			t.Error(err)
		}
		batches <- string(text)
	}))
	defer service.Close()
	e := newEdge(t, "metrics: {listen: \"127.0.0.1:0\"}\nexplain: {bytes: 1MiB}\nshadow: {dir: candidate, percent: 100}\n"+
		"decisionLog: {http: {url: \""+service.URL+"/logs\", wait: 50ms}}\n")
	e.write(t, "candidate/authz.rego", "package agentidp.authz\n\nallow := false\n")
	addresses := make(chan [2]string, 2)
	stop := e.run(t, func(name string, addr net.Addr) { addresses <- [2]string{name, addr.String()} })
	var metrics string
	for range 2 {
		if a := <-addresses; a[0] == "metrics" {
			metrics = "http://" + a[1]
		}
	}
	answer, err := authv3.NewAuthorizationClient(dial(t, "unix://"+e.socket)).Check(t.Context(), question("Bearer "+e.token(t)))
	if err != nil || answer.GetOkResponse() == nil {
		t.Fatal(answer, err)
	}
	id := answer.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
	awaitThat(t, "an explanation", func() bool {
		status, page := httpGet(t, metrics+"/debug/decision/"+id)
		return status == http.StatusOK && strings.Contains(page, `"agrees": true`) && strings.Contains(page, `"file": "authz.rego"`)
	})
	awaitThat(t, "a disagreement", func() bool {
		_, text := httpGet(t, metrics+"/metrics")
		return strings.Contains(text, `agentidp_extauthz_shadow_decisions_total{candidate="mesh",from="allowed",organization="",to="denied"} 1`)
	})
	_, text := httpGet(t, metrics+"/metrics")
	for _, want := range []string{"agentidp_extauthz_explain_kept 1\n", `agentidp_extauthz_explain_missed_total{cause="full"} 0`, "agentidp_extauthz_explain_kept_bytes "} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	close(batches)
	var all strings.Builder
	for batch := range batches {
		all.WriteString(batch)
	}
	if n := strings.Count(all.String(), `"decision_id":"`+id+`"`); n != 2 || strings.Count(all.String(), `"type":"shadow"`) != 1 {
		t.Errorf("the log service got %s", all.String())
	}
}
