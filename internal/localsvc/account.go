package localsvc

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Account is the operating-system user a child runs as.
type Account struct {
	Name     string
	Home     string
	uid, gid uint32
}

func (a *Account) credential() *syscall.Credential {
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// postgresAccount is the user PostgreSQL runs as: us (nil), or user postgres when we are root, as whom PostgreSQL refuses to run.
func postgresAccount() (*Account, error) {
	if os.Geteuid() != 0 {
		if _, err := user.Current(); err != nil {
			return nil, fmt.Errorf("PostgreSQL needs a user with a name, and uid %d has no entry in /etc/passwd: run as a user that has one", os.Geteuid())
		}
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root, and there is no user postgres to run it as: " +
			"`adduser --system --group postgres` makes one (the Debian package does too), or run this as another user than root")
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user postgres: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user postgres: %w", err)
	}
	return &Account{Name: u.Username, Home: u.HomeDir, uid: uint32(uid), gid: uint32(gid)}, nil
}

// own gives a directory and all in it to the account.
func (a *Account) own(dir string) error {
	if a == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(a.uid), int(a.gid))
	})
}

// canEnter asks the kernel, by doing it as that user, whether the account can work in dir: a private folder above it (/root) is enough to say no.
func (a *Account) canEnter(dir string) bool {
	if a == nil {
		return true
	}
	cmd := exec.Command("/bin/sh", "-c", ":")
	cmd.Dir, cmd.Env = dir, []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.credential()}
	return cmd.Run() == nil
}
