// Package jose is the one home of lestrrat-go/jwx: strict compact-JWS verification, JWK intake, signing, thumbprints.
package jose
