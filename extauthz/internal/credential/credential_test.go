package credential

import (
	"strings"
	"testing"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
)

func request(authorization ...string) *checkreq.Request {
	r := &checkreq.Request{}
	for _, a := range authorization {
		r.Headers = append(r.Headers, checkreq.Header{Name: "authorization", Value: a})
	}
	return r
}

func TestBearerAccepts(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"Bearer", "bearer", "BEARER", "bEaReR"} {
		got, refusal := Bearer(request(scheme + " aA0-_.b.c"))
		if refusal != nil || got != "aA0-_.b.c" {
			t.Errorf("%s: %q, %v", scheme, got, refusal)
		}
	}
}

func TestBearerRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in     *checkreq.Request
		reason Reason
		class  Class
	}{
		"none":                    {request(), ReasonMissing, Unauthenticated},
		"two headers":             {request("Bearer a", "Bearer b"), ReasonMalformed, InvalidRequest},
		"two headers, good first": {request("Bearer a", ""), ReasonMalformed, InvalidRequest},
		"empty":                   {request(""), ReasonMalformed, InvalidRequest},
		"space":                   {request(" "), ReasonMalformed, InvalidRequest},
		"scheme alone":            {request("Bearer"), ReasonMalformed, InvalidRequest},
		"scheme and space":        {request("Bearer "), ReasonMalformed, InvalidRequest},
		"two spaces":              {request("Bearer  a"), ReasonMalformed, InvalidRequest},
		"tab":                     {request("Bearer\ta"), ReasonMalformed, InvalidRequest},
		"space, tab":              {request("Bearer \ta"), ReasonMalformed, InvalidRequest},
		"leading space":           {request(" Bearer a"), ReasonMalformed, InvalidRequest},
		"trailing space":          {request("Bearer a "), ReasonMalformed, InvalidRequest},
		"no space":                {request("Bearera.b.c"), ReasonMalformed, InvalidRequest},
		"bare token":              {request("a.b.c"), ReasonMalformed, InvalidRequest},
		"comma-joined":            {request("Bearer a,Bearer b"), ReasonMalformed, InvalidRequest},
		"comma and space":         {request("Bearer a, Bearer b"), ReasonMalformed, InvalidRequest},
		"trailing comma":          {request("Bearer a,"), ReasonMalformed, InvalidRequest},
		"semicolon":               {request("Bearer a;b"), ReasonMalformed, InvalidRequest},
		"quoted":                  {request(`Bearer "a"`), ReasonMalformed, InvalidRequest},
		"parameter":               {request("Bearer token=a"), ReasonToken, InvalidToken},
		"not ASCII":               {request("Bearer ä"), ReasonMalformed, InvalidRequest},
		"homoglyph":               {request("Веarer a"), ReasonMalformed, InvalidRequest},
		"NUL":                     {request("Bearer a\x00"), ReasonMalformed, InvalidRequest},
		"padding":                 {request("Bearer a.b.c="), ReasonToken, InvalidToken},
		"standard alphabet":       {request("Bearer a+b/c"), ReasonToken, InvalidToken},
		"Basic":                   {request("Basic YTpi"), ReasonScheme, Unauthenticated},
		"Basic then Bearer":       {request("Basic YTpi,Bearer a"), ReasonScheme, Unauthenticated},
		"DPoP":                    {request("DPoP a.b.c"), ReasonDPoP, Unauthenticated},
		"dpop, lower case":        {request("dpop a.b.c"), ReasonDPoP, Unauthenticated},
		"Digest":                  {request(`Digest username="a"`), ReasonScheme, Unauthenticated},
		"query":                   {&checkreq.Request{Parameters: map[string][]string{"access_token": {"a"}}}, ReasonQuery, InvalidRequest},
		"query and header": {&checkreq.Request{
			Parameters: map[string][]string{"access_token": {""}},
			Headers:    request("Bearer a").Headers,
		}, ReasonQuery, InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, refusal := Bearer(c.in)
			if token != "" || refusal == nil || refusal.Reason != c.reason || refusal.Class != c.class {
				t.Errorf("got %q, %v", token, refusal)
			}
		})
	}
}

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer a.b.c", "bearer  a", "Basic YTpi", "Bearer a,Bearer b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, refusal := Bearer(request(value))
		if (token == "") == (refusal == nil) {
			t.Fatalf("%q, %v", token, refusal)
		}
		if refusal == nil && (!strings.EqualFold(value[:7], "Bearer ") || value[7:] != token || strings.ContainsAny(token, " ,\t\r\n;=+/")) {
			t.Fatalf("%q gave %q", value, token)
		}
	})
}
