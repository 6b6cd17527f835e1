package obs

import (
	"strings"
	"testing"
)

const (
	someTrace = "0af7651916cd43dd8448eb211c80319c"
	someSpan  = "b7ad6b7169203331"
)

func TestParseTraceContext(t *testing.T) {
	t.Parallel()
	good := "00-" + someTrace + "-" + someSpan + "-"
	for traceparent, sampled := range map[string]bool{
		good + "01": true, good + "00": false, good + "03": true, good + "02": false, good + "ff": true,
		"01" + good[2:] + "01":          true, // a later version
		"fe" + good[2:] + "01-whatever": true,
	} {
		c := ParseTraceContext(traceparent, "a=b")
		if !c.IsValid() || c.Sampled != sampled || c.State != "a=b" || !strings.HasPrefix(c.String(), good) {
			t.Errorf("%s: %+v", traceparent, c)
		}
	}
	for name, traceparent := range map[string]string{
		"empty":                 "",
		"short":                 good + "0",
		"longer":                good + "01-",
		"longer without a dash": "01" + good[2:] + "01x",
		"version ff":            "ff" + good[2:] + "01",
		"version not hex":       "0x" + good[2:] + "01",
		"no trace":              "00-" + strings.Repeat("0", 32) + "-" + someSpan + "-01",
		"no span":               "00-" + someTrace + "-0000000000000000-01",
		"upper case":            "00-" + strings.ToUpper(someTrace) + "-" + someSpan + "-01",
		"flags not hex":         good + "0g",
		"underscores":           strings.ReplaceAll(good, "-", "_") + "01",
		"spaces before":         " " + good + "01",
		"two of them":           good + "01," + good + "01",
	} {
		if c := ParseTraceContext(traceparent, "a=b"); c != (TraceContext{}) {
			t.Errorf("%s: %+v", name, c)
		}
	}
	for name, state := range map[string]string{"too long": strings.Repeat("a", 513), "not ASCII": "a=\xff", "a line break": "a=b\r\nc"} {
		if c := ParseTraceContext(good+"01", state); !c.IsValid() || c.State != "" {
			t.Errorf("state %s: %+v", name, c)
		}
	}
}

func FuzzParseTraceContext(f *testing.F) {
	f.Add("00-"+someTrace+"-"+someSpan+"-01", "a=b")
	f.Fuzz(func(t *testing.T, traceparent, tracestate string) {
		c := ParseTraceContext(traceparent, tracestate)
		if !c.IsValid() {
			if c != (TraceContext{}) {
				t.Errorf("half a context: %+v", c)
			}
			return
		}
		if again := ParseTraceContext(c.String(), c.State); again != c || !strings.HasPrefix(traceparent[2:], c.String()[2:53]) {
			t.Errorf("%q gives %+v, which is %s", traceparent, c, c.String())
		}
	})
}
