package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
)

// roots are our own authority.
func (b *bench) roots() (*x509.CertPool, error) {
	text, err := os.ReadFile(b.files.AuthorityFile())
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in " + b.files.AuthorityFile())
	}
	return pool, nil
}

// register makes the clients by the admin API, in one organization, and a ready request of each.
func (b *bench) register(ctx context.Context, address string) ([][]byte, error) {
	roots, err := b.roots()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	admin := &http.Client{Transport: transport}
	post := func(path string, body any, into any) error {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(text))
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+b.adminKey)
		r.Header.Set("Content-Type", "application/json")
		answer, err := admin.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if text, err = io.ReadAll(answer.Body); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusCreated {
			return fmt.Errorf("POST %s: %s %s", path, answer.Status, text)
		}
		return json.Unmarshal(text, into)
	}
	var made struct{ ID, ClientSecret string }
	if err := post("/organizations", map[string]any{"slug": "bench", "displayName": "Bench"}, &made); err != nil {
		return nil, err
	}
	organization := made.ID
	var requests [][]byte
	for n := range b.options.clients {
		if err := post("/agents", map[string]any{
			"organizationId": organization, "name": "agent-" + strconv.Itoa(n), "type": "assistant", "capabilities": []string{"orders.read"},
			"scopes": []string{"orders:read"}, "audiences": []string{"svc://orders"},
		}, &made); err != nil {
			return nil, err
		}
		if err := post("/agents/"+made.ID+"/credentials", map[string]any{}, &made); err != nil {
			return nil, err
		}
		requests = append(requests, tokenRequest(address, made.ID, made.ClientSecret))
	}
	return requests, nil
}

// tokenRequest is what a client library sends for client_credentials with client_secret_basic.
func tokenRequest(address, id, secret string) []byte {
	const body = "grant_type=client_credentials&scope=orders%3Aread"
	return []byte("POST /oauth2/token HTTP/1.1\r\nhost: " + address + "\r\naccept: application/json\r\nuser-agent: bench/1\r\n" +
		"authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret)) + "\r\n" +
		"content-type: application/x-www-form-urlencoded\r\ncontent-length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}
