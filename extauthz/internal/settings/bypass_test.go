package settings

import (
	"strings"
	"testing"
)

func TestConfigBypasses(t *testing.T) {
	t.Parallel()
	dir := configDir(t)
	got, err := loadConfig(t, dir, minimal+"cors: {preflight: service}\nhealth: [{method: GET, path: /healthz}]\n")
	if err != nil || got.CORS.Preflight != PreflightService || len(got.Health) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = loadConfig(t, dir, minimal+`cors: {preflight: always}
health:
  - {method: POST, path: /healthz}
  - {method: GET, path: "/healthz?x"}
  - {method: GET, path: "/a/../b"}
  - {method: GET}
`)
	const want = `DIR:7: cors.preflight: want off, policy or service
DIR:9: health[0].method: want GET or HEAD: what changes something is decided about
DIR:10: health[1].path: want a path such as /healthz, without query, escapes, // or dot segments
DIR:11: health[2].path: want a path such as /healthz, without query, escapes, // or dot segments
DIR:12: health[3].path: want a path such as /healthz, without query, escapes, // or dot segments`
	if err == nil || strings.ReplaceAll(err.Error(), dir+"/extauthz.yaml", "DIR") != want {
		t.Error(err)
	}
}
