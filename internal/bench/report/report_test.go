package report_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/bench/report"
)

func rows() []report.Row {
	return []report.Row{
		report.Compared("warm: CPU, us", 18, 20, 0.9, 0.9),
		report.Compared("p99, us", 1300, 1000, 1.3, 1.2),
		report.Absolute("idle RSS, MB", 40.5, 40),
		report.Shown("cold: CPU, us", 90, 60, 1.5),
		report.NotGiven("peer (not given)", 1.0/15),
		report.Shown("nothing measured", 1, math.NaN(), math.Inf(1)),
		report.AtLeast("kept", 0.8, 1, 0.8, 0.9),
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := report.Print(&out, rows()); err != nil {
		t.Fatal(err)
	}
	want := `what              ours   floor or peer  ratio  goal       holds
warm: CPU, us     18.0   20.0           0.900  <= 0.9     yes
p99, us           1300   1000           1.30   <= 1.2     no
idle RSS, MB      40.5   -              -      <= 40      no
cold: CPU, us     90.0   60.0           1.50   -          -
peer (not given)  -      -              -      <= 0.0667  -
nothing measured  1.00   -              -      -          -
kept              0.800  1.00           0.800  >= 0.9     no
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestWriteJSON(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := report.WriteJSON(&out, rows()); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	want := []map[string]any{
		{"name": "warm: CPU, us", "ours": 18.0, "other": 20.0, "ratio": 0.9, "goal": "<= 0.9", "holds": true},
		{"name": "p99, us", "ours": 1300.0, "other": 1000.0, "ratio": 1.3, "goal": "<= 1.2", "holds": false},
		{"name": "idle RSS, MB", "ours": 40.5, "other": nil, "ratio": nil, "goal": "<= 40", "holds": false},
		{"name": "cold: CPU, us", "ours": 90.0, "other": 60.0, "ratio": 1.5, "goal": "", "holds": nil},
		{"name": "peer (not given)", "ours": nil, "other": nil, "ratio": nil, "goal": "<= 0.0667", "holds": nil},
		{"name": "nothing measured", "ours": 1.0, "other": nil, "ratio": nil, "goal": "", "holds": nil},
		{"name": "kept", "ours": 0.8, "other": 1.0, "ratio": 0.8, "goal": ">= 0.9", "holds": false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	out.Reset()
	if err := report.WriteJSON(&out, nil); err != nil || strings.TrimSpace(out.String()) != "[]" {
		t.Errorf("no rows: %q, %v", out.String(), err)
	}
}
