package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/bench/report"
)

// TestMain lets the test binary be the floor, as the program itself is.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == floorCommand {
		if serveFloor(context.Background(), os.Args[2], os.Args[3]) != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const smokeMax = 10 * time.Minute // it takes half a minute; a machine may be very busy

// The whole program, with figures too small to mean anything. Without the peer: it comes from the network.
func TestWholeBench(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "issuer")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/agentidp/agentidp/cmd/issuer").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), smokeMax)
	defer cancel()
	var table, progress strings.Builder
	out := filepath.Join(dir, "bench.json")
	if err := run(ctx, []string{"-issuer", program, "-out", out, "-seconds", "0.1", "-repeats", "2", "-clients", "3", "-peer=false"}, &table, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var list []report.Row
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	rows := map[string]report.Row{}
	for _, r := range list {
		rows[r.Name] = r
		if !strings.Contains(table.String(), r.Name) {
			t.Errorf("row %q is not in the table", r.Name)
		}
	}
	for name, goal := range map[string]string{
		"64 connections: tokens/s a core of issuer CPU, beside a bare signing handler": ">= 5000",
		"500/s on 32 connections, keep-alive: p99, ms":                                 "<= 5",
	} {
		if r := rows[name]; r.Goal != goal || r.Ours == nil || *r.Ours <= 0 || r.Other == nil || r.Holds == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	absent := "64 connections: tokens/s a core of server CPU, beside node-oidc-provider " + peerVersion + " in memory (not asked for)"
	if r, ok := rows[absent]; !ok || r.Ours != nil {
		t.Errorf("the absent peer: %+v", list)
	}
}

func TestCannotMeasure(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no such program": {"-issuer", filepath.Join(t.TempDir(), "none"), "-peer=false"},
		"an argument":     {"extra"},
		"no time":         {"-seconds", "0"},
		"an unknown flag": {"-no-such-flag"},
	} {
		var said strings.Builder
		if err := run(t.Context(), args, &said, &said); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	var said strings.Builder
	if err := run(t.Context(), []string{"-h"}, &said, &said); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}
