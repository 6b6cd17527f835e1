// Package api holds the contract of the issuer: one OpenAPI document, written before the handlers and served as it stands.
package api

import _ "embed"

//go:generate go tool -modfile=../../internal/tools/go.mod oapi-codegen -config oapi-codegen.yaml openapi.yaml

// Contract is openapi.yaml, byte for byte. adminapi's models, operations and route table are generated from the same file.
//
//go:embed openapi.yaml
var Contract []byte
