// Package jose is the one home of lestrrat-go/jwx: strict compact-JWS verification, JWK intake, signing, thumbprints.
//
// The library is asked one question only: does this signature over these bytes verify with this key? Everything that
// decides what those bytes and that key are is done here, before it sees them. The rules, with the reasons for each, are
// the normative list in docs/adr/0001-jwx-v2-behind-internal-jose.md; a test over the source of the whole repository
// keeps every other call to the library out.
//
// A token is verified in two steps, because the trust record and the key are found by what the token claims about itself:
//
//	token, err := jose.ParseToken(compact)          // form, header, issuer and key id: nothing is trusted yet
//	record := trust[token.Issuer()]                 // the caller's
//	key, ok := record.Keys.Lookup(token.KeyID())
//	claims, err := token.Verify(key, &record.Rules, now)
//
// Sender constraints (cnf) and revocation are the caller's too: they need more than the token.
package jose
