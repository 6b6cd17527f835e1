package localsvc

import (
	"bytes"
	"io"
	"os"
)

const (
	tailBytesMax = 8 << 10
	tailLinesMax = 20
)

// Tail is the end of what this run of the child wrote to its log: whole lines, bounded.
func (p *Process) Tail() string { return tail(p.cmd.LogFile, p.logStart) }

// tail returns the last lines of a file, nothing before offset from.
func tail(name string, from int64) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	cut := end-from > tailBytesMax
	if cut {
		from = end - tailBytesMax
	}
	text, err := io.ReadAll(io.NewSectionReader(f, from, end-from))
	if err != nil {
		return ""
	}
	text = bytes.TrimRight(text, "\n")
	if cut { // the first line is a fragment
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	lines := bytes.Split(text, []byte("\n"))
	if len(lines) > tailLinesMax {
		lines = lines[len(lines)-tailLinesMax:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}
