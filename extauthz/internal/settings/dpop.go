package settings

import (
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/possession"
	"github.com/agentidp/agentidp/internal/config"
)

// DPoP says how proofs of possession (RFC 9449) are judged. They are understood without it.
type DPoP struct {
	MaxAge config.Duration `yaml:"maxAge"` // of a proof
	Nonce  NonceMode       `yaml:"nonce"`
	// ReplayBytes bounds what is remembered of proofs. What cannot be remembered is not decided.
	ReplayBytes config.Bytes `yaml:"replayBytes"`
}

// NonceMode says whether a proof must carry a nonce of ours.
type NonceMode string

const (
	NonceOff      NonceMode = "off"      // only for proofs from before the process started
	NonceRequired NonceMode = "required" // always (RFC 9449 s9)
)

const (
	proofAgeMin    = time.Second
	replayBytesMin = 1 << 20
)

// SetDefaults implements the defaults of the config file.
func (d *DPoP) SetDefaults() {
	d.MaxAge = config.Duration{Duration: possession.MaxAgeDefault}
	d.Nonce = NonceOff
	d.ReplayBytes = possession.ReplayBytesDefault
}

func (d *DPoP) validate(r *config.Report) {
	if d.MaxAge.Duration < proofAgeMin || d.MaxAge.Duration > possession.MaxAgeMax {
		r.Errorf("dpop.maxAge", "want between %s and %s", proofAgeMin, possession.MaxAgeMax)
	}
	switch d.Nonce {
	case NonceOff, NonceRequired:
	default:
		r.Errorf("dpop.nonce", "want off or required")
	}
	if d.ReplayBytes < replayBytesMin {
		r.Errorf("dpop.replayBytes", "want at least 1MiB: about 26,000 proofs")
	}
}

func (d *DPoP) possession() possession.Config {
	return possession.Config{MaxAge: d.MaxAge.Duration, NonceRequired: d.Nonce == NonceRequired, ReplayBytes: int64(d.ReplayBytes)}
}
