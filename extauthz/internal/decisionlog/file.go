package decisionlog

import (
	"bytes"
	"context"
	"os"
)

const (
	fileMode       = 0o600
	fileLinesMax   = 256       // in one write(2)
	fileBatchBytes = 256 << 10 // about, for the same
)

// File is a sink that appends to a file by name. Before each write it looks whether the name still means the file it holds:
// one that was renamed or removed is let go, and the name opened again. Rotation needs no signal and loses no line.
type File struct {
	name string
	file *os.File
	torn bool // the last write ended inside a line
	buf  bytes.Buffer
}

// OpenFile opens or creates the file; only its owner may read what it creates.
func OpenFile(name string) (*File, error) {
	f := &File{name: name}
	return f, f.open()
}

func (f *File) open() error {
	file, err := os.OpenFile(f.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	if f.file != nil {
		_ = f.file.Close() // every write to it has returned
	}
	f.file, f.torn = file, false
	return nil
}

// Close closes the file. The log that uses it must have been closed.
func (f *File) Close() error { return f.file.Close() }

// Batch implements Sink: whatever waits goes out in one call.
func (*File) Batch() Batch { return Batch{Lines: fileLinesMax, Bytes: fileBatchBytes} }

// Send implements Sink.
func (f *File) Send(_ context.Context, lines [][]byte) (int, Cause) {
	f.followRename()
	f.buf.Reset()
	if f.torn {
		f.buf.WriteByte('\n') // so that a line cut short by a full disk does not spoil the next
	}
	for _, line := range lines {
		f.buf.Write(line)
		f.buf.WriteByte('\n')
	}
	n, err := f.file.Write(f.buf.Bytes())
	if err == nil {
		f.torn = false
		return len(lines), ""
	}
	written := f.buf.Bytes()[:n]
	whole := bytes.Count(written, []byte{'\n'})
	if f.torn && n > 0 {
		whole--
	}
	if n > 0 {
		f.torn = written[n-1] != '\n'
	}
	return whole, CauseWrite
}

// followRename opens the name again when it no longer names the open file. When that fails the old file is used on: a line in
// a rotated file is better than none.
func (f *File) followRename() {
	named, err := os.Stat(f.name)
	if err == nil {
		if held, err := f.file.Stat(); err == nil && os.SameFile(named, held) {
			return
		}
	}
	_ = f.open()
}
