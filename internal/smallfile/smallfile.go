// Package smallfile reads files that somebody else replaces while we run: keys, certificates, policies. Whatever is put in their place, and
// whatever file system they lie on, the reader is told what is wrong and goes on.
package smallfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrNotRegular is a directory, a named pipe, a socket or a device where a file should be.
var ErrNotRegular = errors.New("is not a regular file")

// Read returns what the regular file at path holds, at most bytesMax. What is no regular file, or larger, is refused at once and not waited for.
// All errors are *fs.PathError.
func Read(path string, bytesMax int) ([]byte, error) {
	// O_NONBLOCK: opening a named pipe would wait for somebody to write into it. Regular files do not know the flag.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrNotRegular}
	}
	text, err := io.ReadAll(io.LimitReader(file, int64(bytesMax)+1))
	if err != nil {
		return nil, err
	}
	if len(text) > bytesMax {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is larger than %d bytes", bytesMax)}
	}
	return text, nil
}
