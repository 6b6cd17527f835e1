package credentials

// Method is how a client proves itself in a request, by its name in metadata (token_endpoint_auth_method, RFC 7591 s2).
type Method string

// The methods. A client of None cannot keep a secret: it says who it is, and proves nothing but what PKCE proves. Those that are not of a client secret are named as the kind of credential they need.
const (
	None              Method = "none"
	ClientSecretBasic Method = "client_secret_basic"
	ClientSecretPost  Method = "client_secret_post"
	PrivateKeyJWT     Method = KindPrivateKeyJWT
	TLS               Method = KindTLS
	SelfSignedTLS     Method = KindSelfSignedTLS
	SPIFFEJWT         Method = KindSPIFFEJWT
	SPIFFEX509        Method = KindSPIFFEX509
)

// Methods is every method there is. None is for relying parties alone.
func Methods() []Method {
	return []Method{ClientSecretBasic, ClientSecretPost, PrivateKeyJWT, TLS, SelfSignedTLS, SPIFFEJWT, SPIFFEX509, None}
}

// Kind is the kind of credential the method needs; "" for None.
func (m Method) Kind() string {
	switch m {
	case None:
		return ""
	case ClientSecretBasic, ClientSecretPost:
		return KindClientSecret
	}
	return string(m)
}
