package localsvc

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// PostgresDir says where the cluster that belongs at preferred can live. That is preferred itself, unless we are root and user postgres, as whom
// PostgreSQL then runs, cannot reach it (a checkout under /root): then it is a folder in that user's home, always the same one for the same preferred.
func PostgresDir(preferred string) (string, error) {
	preferred, err := filepath.Abs(preferred)
	if err != nil {
		return "", err
	}
	account, err := postgresAccount()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(preferred, "data")); err == nil || account.canEnter(filepath.Dir(preferred)) {
		return preferred, nil
	}
	if info, err := os.Stat(account.Home); err != nil || !info.IsDir() || !account.canEnter(account.Home) {
		return "", fmt.Errorf("PostgreSQL runs as user %s because you are root, and that user can enter neither %s nor its home %s: work in a folder others can enter, or not as root",
			account.Name, filepath.Dir(preferred), account.Home)
	}
	sum := sha256.Sum256([]byte(preferred))
	return filepath.Join(account.Home, "agentidp-"+hex.EncodeToString(sum[:6])), nil
}
