package agentid

import (
	"sort"
	"strings"
	"testing"
)

func TestRoundTripAndOrder(t *testing.T) {
	t.Parallel()
	var texts []string
	for range 100 {
		id := New[Agent]()
		back, err := Parse[Agent](id.String())
		if err != nil || back != id {
			t.Fatalf("Parse(%q) = %v, %v", id, back, err)
		}
		texts = append(texts, id.String())
	}
	if !sort.StringsAreSorted(texts) {
		t.Error("ids made later do not sort later")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good := New[Agent]().String()
	for name, s := range map[string]string{
		"empty":          "",
		"prefix only":    "agt_",
		"other kind":     New[Organization]().String(),
		"upper case":     strings.ToUpper(good),
		"upper hex":      "agt_" + strings.ToUpper(good[4:30]) + "AB",
		"dashes":         good[:12] + "-" + good[13:],
		"short":          good[:len(good)-1],
		"long":           good + "0",
		"trailing space": good + " ",
		"nil uuid":       "agt_" + strings.Repeat("0", 32),
		"version 4":      good[:16] + "4" + good[17:],
		"path":           "agt_../../../../../../../../../../..",
	} {
		if id, err := Parse[Agent](s); err == nil {
			t.Errorf("%s: Parse(%q) = %v, want an error", name, s, id)
		}
	}
}
