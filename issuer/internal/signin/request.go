package signin

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// Limits of the parameters that are kept or sent back.
const (
	stateBytesMax = 2 << 10
	nonceBytesMax = 512
	hintBytesMax  = 16 << 10
)

// pushedBytesMax bounds what is kept of a pushed request, as a query: anybody can push one for a client that authenticates by none.
const pushedBytesMax = 32 << 10

// parameters are all that an authorization request is read for, here and in readRequest. Of one that is pushed nothing else is read, and nothing else is kept.
var parameters = []string{
	"redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "dpop_jkt", "resource",
	"authorization_details", "prompt", "max_age", "id_token_hint", "request", "request_uri", "registration",
}

// sha256Text is the length of a SHA-256 in base64url: a code_challenge, a thumbprint.
const sha256Text = 43

// request is an authorization request that is in order. It is not yet known who will follow it.
type request struct {
	client      clients.Client
	redirectURI string
	state       string
	nonce       string
	challenge   string
	codeKey     string   // dpop_jkt
	scopes      []string // as asked; nil for none
	resources   []string
	details     json.RawMessage // RFC 9396; nil for none
	prompt      prompt
	hint        string    // id_token_hint
	pushed      *[32]byte // what it uses up; nil when it was not pushed
}

// redirectTarget is the first look at a request: where its answer goes. Until that is known nothing may be redirected, and what is wrong is told to whoever
// sent the request (RFC 6749 s4.1.2.1).
func redirectTarget(form oauth.Form, client clients.Client) (string, error) {
	uri := form.Get("redirect_uri")
	if uri == "" { // required by OpenID Connect Core s3.1.2.1
		return "", &oauth.Error{Code: oauth.InvalidRequest, Description: "redirect_uri is missing."}
	}
	if !client.Redirects(uri) {
		return "", &oauth.Error{Code: oauth.InvalidRequest, Description: "redirect_uri is not one of the client's."}
	}
	return uri, nil
}

// readRequest checks everything that does not depend on the agent. Errors go to the redirect URI.
func readRequest(form oauth.Form, client clients.Client, redirectURI string) (*request, error) {
	for name, code := range map[string]oauth.Code{
		"request": oauth.RequestNotSupported, "request_uri": oauth.RequestURINotSupported, "registration": oauth.RegistrationNotSupported,
	} {
		if form.Has(name) {
			return nil, &oauth.Error{Code: code, Description: "This parameter is not supported."}
		}
	}
	r := &request{
		client: client, redirectURI: redirectURI, state: form.Get("state"), nonce: form.Get("nonce"), codeKey: form.Get("dpop_jkt"),
		resources: form.All("resource"), hint: form.Get("id_token_hint"),
	}
	if err := checkResponse(form); err != nil {
		return nil, err
	}
	if err := checkTexts(r); err != nil {
		return nil, err
	}
	var err error
	if r.challenge, err = readChallenge(form, client); err != nil {
		return nil, err
	}
	if scope := form.Get("scope"); scope != "" {
		var ok bool
		if r.scopes, ok = oauth.ParseScope(scope); !ok {
			return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "The scope is malformed."}
		}
	}
	for _, resource := range r.resources {
		if !slices.Contains(client.Audiences, resource) {
			return nil, &oauth.Error{Code: oauth.InvalidTarget, Description: "The client may not ask for tokens for this resource."}
		}
	}
	if r.details, err = oauth.ParseAuthorizationDetails(form.Get("authorization_details")); err != nil {
		return nil, err
	}
	if r.prompt, err = readPrompt(form.Get("prompt"), form.Get("max_age")); err != nil {
		return nil, err
	}
	return r, nil
}

func checkResponse(form oauth.Form) error {
	switch form.Get("response_type") {
	case "code":
	case "":
		return invalid("response_type is missing.")
	default:
		return &oauth.Error{Code: oauth.UnsupportedResponseType, Description: "The only response type is code."}
	}
	if mode := form.Get("response_mode"); mode != "" && mode != "query" {
		return invalid("The only response mode is query.")
	}
	return nil
}

func checkTexts(r *request) error {
	switch {
	case len(r.state) > stateBytesMax, len(r.nonce) > nonceBytesMax, len(r.hint) > hintBytesMax:
		return invalid("A parameter is too long.")
	case strings.ContainsFunc(r.state+r.nonce, unicode.IsControl):
		return invalid("state or nonce holds a control character.")
	case r.codeKey != "" && !isSHA256(r.codeKey):
		return invalid("dpop_jkt is not a SHA-256 thumbprint.")
	}
	return nil
}

// readChallenge is RFC 7636 s4.3 with S256 and nothing else: with plain, whoever reads the request can redeem the code.
func readChallenge(form oauth.Form, client clients.Client) (string, error) {
	challenge, method := form.Get("code_challenge"), form.Get("code_challenge_method")
	switch {
	case challenge == "" && method == "" && client.PKCEOptional:
		return "", nil
	case challenge == "":
		return "", invalid("code_challenge is missing: PKCE is required.")
	case method != "S256": // absent means plain, RFC 7636 s4.3
		return "", invalid("code_challenge_method must be S256.")
	case !isSHA256(challenge):
		return "", invalid("code_challenge is not a SHA-256.")
	}
	return challenge, nil
}

// isSHA256 reports whether s is one in base64url, in the one spelling it has.
func isSHA256(s string) bool {
	if len(s) != sha256Text {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil
}

// prompt is what a request says about how the agent shall be authenticated.
type prompt struct {
	none   bool          // nothing may be asked of the agent: it is signed in by what it sent, or not at all
	fresh  bool          // it must have authenticated a moment ago
	maxAge time.Duration // of its authentication; negative for any
}

// freshMax is how long ago is a moment ago. An agent authenticates in the request itself, or got its token for it right before.
const freshMax = 60 * time.Second

// readPrompt is OpenID Connect Core s3.1.2.1. Nobody can be asked anything here, and each value is satisfied, or not, by the agent's own request: login by a
// fresh authentication; consent because an agent that follows the URL with its credential means it; select_account because it has one.
func readPrompt(values, maxAge string) (prompt, error) {
	p := prompt{maxAge: -1}
	if values != "" {
		list := strings.Split(values, " ")
		for _, v := range list {
			switch v {
			case "none":
				p.none = true
			case "login":
				p.fresh = true
			case "consent", "select_account":
			default:
				return prompt{}, invalid("prompt has a value that is not known.")
			}
		}
		if p.none && len(list) > 1 {
			return prompt{}, invalid("prompt none goes with no other.")
		}
	}
	if maxAge != "" {
		seconds, err := strconv.ParseUint(maxAge, 10, 31)
		if err != nil {
			return prompt{}, invalid("max_age is not a number of seconds.")
		}
		p.maxAge = time.Duration(seconds) * time.Second
		p.fresh = p.fresh || seconds == 0 // as prompt=login
	}
	return p, nil
}

// oldest is the age of the oldest authentication that will do; negative for any.
func (p prompt) oldest() time.Duration {
	switch {
	case p.fresh && (p.maxAge <= 0 || p.maxAge > freshMax):
		return freshMax
	}
	return p.maxAge
}

func invalid(description string) error {
	return &oauth.Error{Code: oauth.InvalidRequest, Description: description}
}

// Prompts is every value of prompt, for metadata.
func Prompts() []string { return []string{"none", "login", "consent", "select_account"} }
