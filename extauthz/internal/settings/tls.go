package settings

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/servertls"
)

// TLS is for tcp:// addresses: with it they speak nothing else. Unix sockets and the metrics listener stay as they are.
type TLS struct {
	Cert config.Path `yaml:"cert"`
	Key  config.Path `yaml:"key"`
	// ClientCA, when set, lets in only who shows a certificate of one of its authorities.
	ClientCA config.Path `yaml:"clientCA"`
}

// Files are where certificate, key and authorities are.
func (t *TLS) Files() servertls.Files {
	return servertls.Files{Cert: string(t.Cert), Key: string(t.Key), ClientCA: string(t.ClientCA)}
}

func (c *Config) validateTLS(r *config.Report) {
	t := c.TLS
	if t == nil {
		return
	}
	if !slices.ContainsFunc(c.Listen, func(s string) bool { return strings.HasPrefix(s, "tcp://") }) {
		r.Errorf("tls", "is for tcp:// addresses, and listen has none")
	}
	if t.Cert == "" {
		r.Errorf("tls.cert", "is required")
	}
	if t.Key == "" {
		r.Errorf("tls.key", "is required")
	}
	if t.Cert == "" || t.Key == "" {
		return
	}
	if _, err := servertls.Open(t.Files(), time.Now, slog.New(slog.DiscardHandler)); err != nil {
		r.Errorf("tls", "%v", err)
	}
}
