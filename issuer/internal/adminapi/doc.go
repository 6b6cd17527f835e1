// Package adminapi is the administrative API: one handler file per resource, each a thin step between the contract (api.gen.go, made from
// issuer/api/openapi.yaml) and the service that owns the noun. Decoding, errors and authentication happen in package web, before and after.
package adminapi
