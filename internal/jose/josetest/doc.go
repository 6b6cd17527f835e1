// Package josetest is an attack corpus for everything that verifies access tokens: forged, ambiguous, stale and misused
// tokens, each of which must be refused, and a few unusual ones that must be accepted. It is for tests only.
//
// All tokens are made here with the standard library alone, so that the code under test cannot be wrong in the same way.
// They belong to one issuer, one audience and one moment: give KeySetDocument, Rules and Now to the code under test.
package josetest
