// Package tidy holds the shape of the source as tests: sizes, documentation, banned calls. The limits are where reading starts to hurt, not
// goals; the waiver lists may shrink and never grow without an ADR.
package tidy
