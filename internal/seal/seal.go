// Package seal is envelope encryption: a data key per organization (Tink keyset), wrapped by a key-encryption key.
package seal
