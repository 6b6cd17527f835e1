package checkreq

// Limits of one request. Beyond any of them the answer is 400; docs/limits.md lists them for operators.
const (
	MessageBytesMax     = 256 << 10 // the check itself: 60 KiB of headers, a certificate, a body if Envoy sends one
	MethodBytesMax      = 32        // the longest registered method (IANA) has 17 bytes
	TargetBytesMax      = 8 << 10   // path and query together, as received
	HostBytesMax        = 261       // 255 bytes of DNS name, a colon, five digits
	HeadersMax          = 100       // header fields, pseudo headers included
	HeaderBytesMax      = 60 << 10  // names and values together: Envoy's own default limit
	HeaderNameBytesMax  = 256       // one name
	ExtensionsMax       = 64        // context extensions of the route
	AttributeBytesMax   = 2 << 10   // one principal, service, label, request id: SPIFFE allows ids of 2048 bytes
	CertificateBytesMax = 64 << 10  // URL-encoded peer certificate
)
