package jose

import "github.com/agentidp/agentidp/internal/strictjson"

const (
	// tokenBytesMax is more than any token we issue and less than Envoy's 60 KiB of headers: what is longer is an attack
	// on memory or on somebody's parser.
	tokenBytesMax = 8 << 10

	// proofBytesMax holds a proof by an RSA key of rsaBitsMax; one by an EC key has 500 bytes.
	proofBytesMax      = 4 << 10
	proofIDBytesMax    = 256
	proofURIBytesMax   = 2 << 10
	proofNonceBytesMax = 256
	methodBytesMax     = 32

	// assertionKeysMax is how many keys of a client are tried when its assertion names none.
	assertionKeysMax = 4

	keyIDBytesMax    = 128
	issuerBytesMax   = 512
	subjectBytesMax  = 512
	tokenIDBytesMax  = 256
	audienceBytesMax = 512 // of one audience
	audiencesMax     = 8
	typeBytesMax     = 64

	// secondsMax is the last second of the year 9999: later dates overflow some reader, milliseconds exceed it.
	secondsMax = 253402300799

	keysMax        = 64
	rsaBitsMin     = 2048
	rsaBitsMax     = 8192 // 65,536 bits cost half a second per verification
	rsaExponentMax = 1<<31 - 1
	rsaBitsNew     = 2048 // of keys generated here
)

// The limits of documents are read, never written.
var (
	headerLimits  = strictjson.Limits{Bytes: 1 << 10, Depth: 2, Values: 64, Members: 16}
	payloadLimits = strictjson.Limits{Bytes: tokenBytesMax, Depth: 16, Values: 512, Members: 512}
	proofLimits   = strictjson.Limits{Bytes: proofBytesMax, Depth: 4, Values: 64, Members: 32} // of header and payload, each
	keySetLimits  = strictjson.Limits{Bytes: 256 << 10, Depth: 8, Values: 8192, Members: 128}  // around the keys
	keyLimits     = strictjson.Limits{Bytes: 256 << 10, Depth: 6, Values: 512, Members: 128}   // of each key
)
