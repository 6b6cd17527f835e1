package main

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"path/filepath"
)

// peerVersion is pinned: another one is another measurement.
const peerVersion = "9.13.3"

// peerScript serves oidc-provider over the same certificate, everything in memory: one client, ES256, JWT access tokens.
//
//go:embed peer.mjs
var peerScript string

// startPeer installs node-oidc-provider in the folder of this run and starts it. A machine without npm, or that npm cannot serve, has no peer, and the rows say so.
func (b *bench) startPeer(ctx context.Context) error {
	if !b.options.peer {
		b.peerNote = "not asked for"
		return nil
	}
	npm, npmErr := exec.LookPath("npm")
	node, nodeErr := exec.LookPath("node")
	if npmErr != nil || nodeErr != nil {
		b.peerNote = "npm is not there"
		return nil
	}
	b.progress("install oidc-provider %s", peerVersion)
	for name, text := range map[string]string{"package.json": `{"private": true, "type": "module"}`, "peer.mjs": peerScript} {
		if err := b.write(name, text); err != nil {
			return err
		}
	}
	install := exec.CommandContext(ctx, npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", "oidc-provider@"+peerVersion)
	install.Dir = b.dir
	if out, err := install.CombinedOutput(); err != nil {
		b.progress("npm install: %v: %s", err, out)
		b.peerNote = "npm could not install it"
		return nil
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	p, err := b.start(ctx, "oidc-provider", address, node, filepath.Join(b.dir, "peer.mjs"), address, b.files.CertificateFile(), b.files.KeyFile())
	if err != nil {
		return fmt.Errorf("oidc-provider: %w", err)
	}
	b.targets = append(b.targets, &target{name: "peer", address: address, pid: p.PID(), requests: [][]byte{tokenRequest(address, "bench", "aidp_peer-secret-of-the-same-length-0123456789ab")}})
	return nil
}
