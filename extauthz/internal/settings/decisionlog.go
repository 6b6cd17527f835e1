package settings

import (
	"fmt"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/internal/config"
)

// DecisionLog says where decisions are written, one JSON document each: to a file, which is appended to, to standard output, or to
// a log service.
type DecisionLog struct {
	File   config.Path       `yaml:"file"`
	Stdout bool              `yaml:"stdout"`
	HTTP   *LogService       `yaml:"http"`
	Labels map[string]string `yaml:"labels"` // in every line: which pod, which cluster
	// SampleAllowed is the share of allowed decisions that is logged. Denials, and what could not be decided, always are.
	SampleAllowed float64 `yaml:"sampleAllowed"`
	// Mask lists JSON pointers to members that are left out. Credentials are masked without being named.
	Mask []string `yaml:"mask"`
}

// LogService takes batches of decisions as gzipped JSON arrays, as OPA sends them.
type LogService struct {
	URL   string          `yaml:"url"`
	CA    config.Path     `yaml:"ca"`
	Token config.Secret   `yaml:"token"` // sent as Authorization: Bearer, if there is one
	Wait  config.Duration `yaml:"wait"`  // how long decisions are collected before they are sent
}

const (
	sampleAllowedDefault = 1
	logWaitDefault       = time.Second
	logWaitMax           = time.Minute
	maskMax              = 100
)

// SetDefaults implements the defaults of the config file.
func (d *DecisionLog) SetDefaults() { d.SampleAllowed = sampleAllowedDefault }

// SetDefaults implements the defaults of the config file.
func (s *LogService) SetDefaults() { s.Wait = config.Duration{Duration: logWaitDefault} }

func (d *DecisionLog) validate(r *config.Report, field string) {
	sinks := 0
	for _, named := range []bool{d.File != "", d.Stdout, d.HTTP != nil} {
		if named {
			sinks++
		}
	}
	if sinks != 1 {
		r.Errorf(field, "want exactly one of file, http and stdout: true")
	}
	if !isPart(d.SampleAllowed, 1) {
		r.Errorf(field+".sampleAllowed", "want a number from 0 (no allowed decision is logged) to 1 (all are)")
	}
	if len(d.Mask) > maskMax {
		r.Errorf(field+".mask", "has %d pointers, at most %d are accepted", len(d.Mask), maskMax)
	}
	for i, pointer := range d.Mask {
		if err := decisionlog.CheckPointer(pointer); err != nil {
			r.Errorf(fmt.Sprintf("%s.mask[%d]", field, i), "%v", err)
		}
	}
	if s := d.HTTP; s != nil {
		if s.URL == "" {
			r.Errorf(field+".http.url", "is required")
		} else {
			validateURL(r, field+".http", s.URL, s.CA)
		}
		if s.Wait.Duration <= 0 || s.Wait.Duration > logWaitMax {
			r.Errorf(field+".http.wait", "want more than 0 and at most %s", logWaitMax)
		}
		if !isVisible(s.Token.Reveal()) {
			r.Errorf(field+".http.token", "want visible ASCII without spaces")
		}
	}
}

// isPart reports whether f lies between 0 and whole. NaN does not.
func isPart(f, whole float64) bool { return f >= 0 && f <= whole }
