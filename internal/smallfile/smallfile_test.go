package smallfile

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("file"), []byte("12345678"), 0o600))
	must(os.WriteFile(at("empty"), nil, 0o600))
	must(os.WriteFile(at("large"), []byte("123456789"), 0o600))
	must(os.Symlink("file", at("link")))
	must(os.Symlink("pipe", at("link to a pipe")))
	must(syscall.Mkfifo(at("pipe"), 0o600))
	must(os.Mkdir(at("dir"), 0o700))
	listener, err := net.Listen("unix", at("socket"))
	must(err)
	defer listener.Close()

	for name, want := range map[string]string{"file": "12345678", "link": "12345678", "empty": ""} {
		if got, err := Read(at(name), 8); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, says := range map[string]string{
		"large": "is larger than 8 bytes", "pipe": "is not a regular file", "link to a pipe": "is not a regular file", "dir": "is not a regular file",
		"/dev/zero": "is not a regular file", "socket": "no such device", "none": "no such file",
	} {
		path := at(name)
		if filepath.IsAbs(name) {
			path = name
		}
		read := make(chan error, 1)
		go func() {
			_, err := Read(path, 8)
			read <- err
		}()
		select {
		case err := <-read:
			var p *fs.PathError
			if !errors.As(err, &p) || p.Path != path || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want %s", name, err, says)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is waited for", name)
		}
	}
}

// A reading that does not come back is waited for once, makes no second one, and what it brings in the end is not taken for new.
func TestFollowerGoesOnWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var readings atomic.Int32
		f := Follow("keys.json", func() (string, error) {
			if readings.Add(1) == 2 {
				<-hang
				return "old", nil
			}
			return "new", nil
		})
		if got, err := f.Read(t.Context()); got != "new" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		for n, wait := range []time.Duration{Patience, 0, 0} {
			began := time.Now()
			if got, err := f.Read(t.Context()); got != "" || !errors.Is(err, ErrNoAnswer) || err.Error() != "read keys.json: the file system does not answer" {
				t.Errorf("%d: %q, %v", n, got, err)
			}
			if waited := time.Since(began); waited != wait {
				t.Errorf("%d: waited for %s, want %s", n, waited, wait)
			}
			time.Sleep(time.Second)
		}
		if n := readings.Load(); n != 2 {
			t.Errorf("%d readings, want the first and the one that hangs", n)
		}
		close(hang)
		synctest.Wait()
		if got, err := f.Read(t.Context()); got != "new" || err != nil {
			t.Errorf("after it came back: %q, %v", got, err)
		}
	})
}

// The end does not wait for a reading.
func TestFollowerEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		f := Follow("keys.json", func() (int, error) { <-hang; return 1, nil })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		if _, err := f.Read(ctx); !errors.Is(err, context.Canceled) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestFollowerReturnsWhatReadReturns(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	f := Follow("keys.json", func() (int, error) { return 0, broken })
	if _, err := f.Read(t.Context()); !errors.Is(err, broken) || errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
}
