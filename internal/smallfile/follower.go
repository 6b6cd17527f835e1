package smallfile

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// Patience is how long a reading is waited for. A disk takes milliseconds; a file system behind a network that is gone takes for ever, and
// whoever reads of it cannot be called back.
const Patience = 5 * time.Second

// ErrNoAnswer is a file system that has not answered yet.
var ErrNoAnswer = errors.New("the file system does not answer")

// Follower reads the same source again and again, without ever hanging on it. At most one reading is under way, so that a file system that does
// not answer costs one thread and no more. It belongs to one goroutine.
type Follower[T any] struct {
	name string
	read func() (T, error)
	left chan outcome[T] // of a reading nobody waits for any more; nil when there is none
}

type outcome[T any] struct {
	value T
	err   error
}

// Follow makes a Follower of what read reads. The name is for errors: the file or directory.
func Follow[T any](name string, read func() (T, error)) *Follower[T] {
	return &Follower[T]{name: name, read: read}
}

// Read reads once. The error is read's, ctx's, or after Patience one that wraps ErrNoAnswer and is returned at once until the reading has ended. What
// that reading found by then is old, and dropped.
func (f *Follower[T]) Read(ctx context.Context) (T, error) {
	var none T
	if f.left != nil {
		select {
		case <-f.left:
			f.left = nil
		default:
			return none, f.noAnswer()
		}
	}
	done := make(chan outcome[T], 1)
	go func() {
		value, err := f.read()
		done <- outcome[T]{value, err}
	}()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case got := <-done:
		return got.value, got.err
	case <-timer.C:
		f.left = done
		return none, f.noAnswer()
	case <-ctx.Done():
		f.left = done
		return none, ctx.Err()
	}
}

func (f *Follower[T]) noAnswer() error {
	return &fs.PathError{Op: "read", Path: f.name, Err: ErrNoAnswer}
}
