package unary_test

import (
	"encoding/xml"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// h2spec asks, rule by rule of HTTP/2 and HPACK, what a server does when a client breaks it. Nobody here wrote it.
func TestConformance(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, config(), l)
	report := filepath.Join(t.TempDir(), "report.xml")
	port := l.Addr().(*net.TCPAddr).Port
	tools, err := filepath.Abs("../../../internal/tools/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "tool", "-modfile="+tools, "h2spec", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "--strict", "--junit-report", report, "-o", "30")
	out, failed := cmd.CombinedOutput()
	doc, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var suites struct {
		Suites []struct {
			Package string `xml:"package,attr"`
			Cases   []struct {
				Name    string    `xml:"classname,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(doc, &suites); err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			cases++
			if c.Failure != nil || c.Error != nil || c.Skipped != nil {
				t.Errorf("%s: %s", s.Package, c.Name)
			}
		}
	}
	if cases < 100 || failed != nil {
		t.Errorf("%d cases; %v\n%s", cases, failed, out)
	}
}
