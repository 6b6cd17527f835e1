package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
)

// EncodingVersion is the version of the bytes Encode writes. Rows of older versions stay readable for ever: their bytes are what was proven.
const EncodingVersion = 1

// bodyBytesMax bounds one encoded record. The largest honest one is an agent update that replaces every list, about 60 KiB.
const bodyBytesMax = 256 << 10

// masked stands where a detail looked like a secret.
const masked = "[masked]"

// encoded is version 1. Its member order is fixed and map members are sorted, so equal records give equal bytes.
type encoded struct {
	Version        int            `json:"v"`
	ID             string         `json:"id"`
	OrganizationID string         `json:"organizationId"`
	Time           string         `json:"time"`
	Actor          encodedActor   `json:"actor"`
	Action         Action         `json:"action"`
	Target         string         `json:"target"`
	Details        map[string]any `json:"details,omitempty"`
}

type encodedActor struct {
	Kind      string `json:"kind"`
	ID        string `json:"id"`
	RequestID string `json:"requestId"`
	Source    string `json:"source"`
}

// timeLayout has microseconds always, the resolution of PostgreSQL.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Encode gives the exact bytes that are stored and later hashed into the organization's tree. Details that look like a client secret or a
// token are masked: a mistake elsewhere must not turn an append-only log into a store of secrets.
func Encode(r Record) ([]byte, error) {
	details, ok := plainDetails(r.Details)
	if !ok {
		var err error
		if details, err = withoutSecrets(r.Details); err != nil {
			return nil, err
		}
	}
	body := appendRecord(make([]byte, 0, 768), r, details)
	if len(body) > bodyBytesMax {
		return nil, fmt.Errorf("encode audit record: %d bytes, at most %d", len(body), bodyBytesMax)
	}
	return body, nil
}

// Decode reads what Encode wrote.
func Decode(version int, body []byte) (Record, error) {
	if version != EncodingVersion {
		return Record{}, fmt.Errorf("decode audit record: unknown encoding version %d", version)
	}
	var e encoded
	if err := json.Unmarshal(body, &e); err != nil {
		return Record{}, fmt.Errorf("decode audit record: %w", err)
	}
	id, err := agentid.Parse[agentid.Event](e.ID)
	if err != nil {
		return Record{}, fmt.Errorf("decode audit record: %w", err)
	}
	var org agentid.Organization
	if e.OrganizationID != "" {
		if org, err = agentid.Parse[agentid.Organization](e.OrganizationID); err != nil {
			return Record{}, fmt.Errorf("decode audit record: %w", err)
		}
	}
	at, err := time.Parse(timeLayout, e.Time)
	if err != nil {
		return Record{}, fmt.Errorf("decode audit record: %w", err)
	}
	return Record{
		ID: id, OrganizationID: org, Time: at, Actor: Actor(e.Actor), Action: e.Action, Target: e.Target, Details: e.Details,
	}, nil
}

// withoutSecrets copies details as plain JSON values with secrets masked. Going through JSON first means no custom type can hide one.
func withoutSecrets(details map[string]any) (map[string]any, error) {
	if len(details) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(details)
	if err != nil {
		return nil, fmt.Errorf("encode audit details: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var plain any
	if err := dec.Decode(&plain); err != nil {
		return nil, fmt.Errorf("encode audit details: %w", err)
	}
	m, ok := maskValue(plain).(map[string]any)
	if !ok {
		return nil, errors.New("encode audit details: not an object")
	}
	return m, nil
}

func maskValue(v any) any {
	switch v := v.(type) {
	case string:
		if looksSecret(v) {
			return masked
		}
	case []any:
		for i := range v {
			v[i] = maskValue(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = maskValue(v[k])
		}
	}
	return v
}

// looksSecret recognises what this issuer hands out: client secrets by their prefix (credentials.SecretPrefix), tokens by the base64url form
// of `{"` that opens every JWS header.
func looksSecret(s string) bool {
	return strings.Contains(s, "aidp_") || strings.Contains(s, "eyJ") && strings.Count(s, ".") >= 2
}
