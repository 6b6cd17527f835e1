package settings

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/internal/config"
)

// validateState remembers where the configuration was read: what is kept on disk has its place beside it.
func (c *Config) validateState(r *config.Report) {
	if r.File() != "" {
		if file, err := filepath.Abs(r.File()); err == nil {
			c.File = config.Path(file)
		}
	}
	if c.asksURLs() && c.stateDir() == "" {
		r.Errorf("stateDir", "is required for a configuration without a file: the last good answers of URLs are kept there across restarts")
	}
}

// asksURLs reports whether there is anything whose last good answer is to be kept.
func (c *Config) asksURLs() bool {
	for i := range c.Issuers {
		if c.Issuers[i].JWKS.URL != "" || c.Issuers[i].Revocations != nil {
			return true
		}
	}
	return c.Policy.Bundle != ""
}

// stateDir is where last good answers are kept: where the operator says, else beside the config file and named by it, as extauthz.state
// for extauthz.yaml. "" when there is neither.
func (c *Config) stateDir() string {
	if c.StateDir != "" || c.File == "" {
		return string(c.StateDir)
	}
	return strings.TrimSuffix(string(c.File), filepath.Ext(string(c.File))) + ".state"
}

// OpenDisk opens the folder for last good answers; nil when nothing is to be kept. A folder the operator named must be usable. One that is only
// the default may lie where a process cannot write, as in a mounted ConfigMap: then everything works but a restart without the network, and
// the log says so.
func (c *Config) OpenDisk(log *slog.Logger) (*feed.LastGood, error) {
	if c.StateDir == "" && !c.asksURLs() {
		return nil, nil
	}
	dir := c.stateDir()
	disk, err := feed.OpenLastGood(dir)
	switch {
	case err == nil:
		return disk, nil
	case c.StateDir != "":
		return nil, fmt.Errorf("stateDir: %w", err)
	}
	log.Warn("nothing is kept on disk: "+withoutDisk+"; set stateDir to a folder this process may write to", "dir", dir, "err", err.Error())
	return nil, nil
}

const withoutDisk = "after a restart nobody gets in until each URL has answered, and an older revocation list is not known for one"

func (c *Config) describeState(w io.Writer) {
	if c.StateDir == "" && !c.asksURLs() {
		return
	}
	dir := c.stateDir()
	if err := checkWritable(dir); err != nil {
		fmt.Fprintf(w, "state: WARNING: nothing can be kept in %s: %v: %s\n", dir, err, withoutDisk)
		return
	}
	fmt.Fprintf(w, "state: last good answers in %s\n", dir)
}

// checkWritable asks without writing whether files can be made in a folder, or the folder itself where it is missing.
func checkWritable(dir string) error {
	for {
		info, err := os.Stat(dir)
		if os.IsNotExist(err) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		if err == nil && !info.IsDir() {
			err = syscall.ENOTDIR
		}
		if err == nil {
			err = syscall.Access(dir, 2|1) // W_OK, X_OK
		}
		return err
	}
}
