package issuer_test

import (
	"encoding"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer"
)

// manualRows are the rows of the table that follows a heading of docs/issuer.md, as cells.
func manualRows(t *testing.T, heading string) [][]string {
	t.Helper()
	page, err := os.ReadFile("../docs/issuer.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(page), "\n## "+heading+"\n")
	part, _, ended := strings.Cut(part, "\n## ")
	if !found || !ended {
		t.Fatalf("docs/issuer.md has no part %q", heading)
	}
	var rows [][]string
	for line := range strings.Lines(part) {
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, strings.Split(line, "|")[1:])
		}
	}
	return rows
}

var quoted = regexp.MustCompile("`([^`]+)`")

// names in the first cell of a row: `tls.cert`, `.key` are tls.cert and tls.key.
func names(cell string) (all []string) {
	before := ""
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		name := m[1]
		if strings.HasPrefix(name, ".") {
			name = before + name
		} else {
			before = name[:max(0, strings.LastIndex(name, "."))]
		}
		all = append(all, name)
	}
	return all
}

// keysOf are the keys below a value of a configuration, with their defaults ("" for none).
func keysOf(v reflect.Value, at string, into map[string]string) {
	_, text := v.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	case v.Type() == reflect.TypeFor[config.Secret]():
		into[at] = ""
	case text || v.Type() == reflect.TypeFor[config.Duration]():
		into[at] = strings.ToLower(fmt.Sprint(v.Interface()))
	case v.Kind() == reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		if d, ok := fresh.Interface().(interface{ SetDefaults() }); ok {
			d.SetDefaults()
		}
		keysOf(fresh.Elem(), at, into)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		keysOf(reflect.New(v.Type().Elem()).Elem(), at+"[]", into)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Tag.Get("yaml"); name != "" {
				keysOf(v.Field(i), strings.TrimPrefix(at+"."+name, "."), into)
			}
		}
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Map:
		into[at] = ""
	default:
		into[at] = fmt.Sprint(v.Interface())
	}
}

// Every key of the configuration is in the table of docs/issuer.md, with its default, and nothing else is.
func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	var cfg issuer.Config
	cfg.SetDefaults()
	keys := map[string]string{}
	keysOf(reflect.ValueOf(&cfg).Elem(), "", keys)
	if len(keys) < 70 {
		t.Fatalf("found only %d keys", len(keys))
	}
	for _, row := range manualRows(t, "Every key") {
		if len(row) < 2 {
			t.Fatalf("a row without a default: %v", row)
		}
		defaults := quoted.FindAllStringSubmatch(row[1], -1)
		for n, name := range names(row[0]) {
			name = strings.TrimSuffix(name, "[]")
			want, known := keys[name]
			delete(keys, name)
			switch said := ""; {
			case !known:
				t.Errorf("docs/issuer.md has %s, which is no key, or has it twice", name)
			case want == "" || want == "0" || want == "0s":
			default:
				if n < len(defaults) {
					said = defaults[n][1]
				}
				if d, err := time.ParseDuration(said); err == nil {
					said = d.String()
				}
				if said != want {
					t.Errorf("%s: the default is %s, docs/issuer.md says %q", name, want, row[1])
				}
			}
		}
	}
	for name := range keys {
		t.Errorf("docs/issuer.md does not have %s", name)
	}
}

// Every metric of an issuer that has them all is in the table of docs/issuer.md, with its labels, and nothing else is.
func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	operator := "127.0.0.1:" + strconv.Itoa(testkit.FreePort(t))
	collector := testkit.Collect(t)
	i := start(t, func(c *issuer.Config) {
		c.Metrics.Listen = operator
		c.Tracing = &obs.Tracing{Endpoint: "http://" + collector.Address, Sampler: obs.SamplerParent, Ratio: 1}
		c.Limits.Source = slow(4)
	}, func(c *issuer.Config) { c.TLS.ClientCA = config.Path(testkit.Certificates(t).AuthorityFile()) })
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	i.token(agent, secret)
	refused := i.tokenRequest(agent, secret, url.Values{"grant_type": {"client_credentials"}})
	if refused.StatusCode != 429 {
		t.Fatalf("not refused: %s", refused.Status)
	}
	i.must(i.at("127.0.2.1").tokenRequest(agent, secret, url.Values{"grant_type": {"made-up"}}), 400)

	_, text := probe(t, operator, "/metrics")
	got := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^(agentidp_[a-z_]+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? `).FindAllStringSubmatch(text, -1) {
		labels := got[m[1]]
		for _, l := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" && !slices.Contains(labels, l[1]) {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		got[m[1]] = labels
	}
	documented := map[string][]string{}
	for _, row := range manualRows(t, "Health and metrics") {
		for _, name := range names(row[0]) {
			if strings.HasPrefix(name, "agentidp_") {
				labels := names(row[1])
				slices.Sort(labels)
				documented[name] = labels
			}
		}
	}
	if d := cmp.Diff(documented, got); d != "" {
		t.Errorf("metrics (-docs/issuer.md +/metrics):\n%s", d)
	}
}
