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
		got, refusal := Find(request(scheme + " aA0-_.b.c"))
		if want := (Credential{Scheme: SchemeBearer, Token: "aA0-_.b.c"}); refusal != nil || got != want {
			t.Errorf("%s: %+v, %v", scheme, got, refusal)
		}
	}
}

func withProofs(r *checkreq.Request, proofs ...string) *checkreq.Request {
	for _, p := range proofs {
		r.Headers = append(r.Headers, checkreq.Header{Name: "dpop", Value: p})
	}
	return r
}

func TestDPoPAccepts(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"DPoP", "dpop", "DPOP"} {
		got, refusal := Find(withProofs(request(scheme+" a.b.c"), "d.e.f"))
		if want := (Credential{Scheme: SchemeDPoP, Token: "a.b.c", Proof: "d.e.f"}); refusal != nil || got != want {
			t.Errorf("%s: %+v, %v", scheme, got, refusal)
		}
	}
	got, refusal := Find(withProofs(request("Bearer a.b.c"), "d.e.f"))
	if want := (Credential{Scheme: SchemeBearer, Token: "a.b.c"}); refusal != nil || got != want {
		t.Errorf("a DPoP header beside a Bearer token: %+v, %v", got, refusal)
	}
}

func TestFindRefuses(t *testing.T) {
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
		"DPoP without proof":      {request("DPoP a.b.c"), ReasonProof, InvalidProof},
		"DPoP, two proofs":        {withProofs(request("DPoP a.b.c"), "d.e.f", "d.e.f"), ReasonProof, InvalidProof},
		"DPoP alone":              {withProofs(request("DPoP"), "d.e.f"), ReasonMalformed, InvalidRequest},
		"DPoP and space":          {withProofs(request("DPoP "), "d.e.f"), ReasonMalformed, InvalidRequest},
		"DPoP, two tokens":        {withProofs(request("DPoP a,DPoP b"), "d.e.f"), ReasonMalformed, InvalidRequest},
		"DPoP, padding":           {withProofs(request("DPoP a.b.c="), "d.e.f"), ReasonToken, InvalidToken},
		"Digest":                  {request(`Digest username="a"`), ReasonScheme, Unauthenticated},
		"query":                   {&checkreq.Request{Query: "access_token=a"}, ReasonQuery, InvalidRequest},
		"query and header": {&checkreq.Request{
			Query:   "x=1&access%5Ftoken=",
			Headers: request("Bearer a").Headers,
		}, ReasonQuery, InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, refusal := Find(c.in)
			if got != (Credential{}) || refusal == nil || refusal.Reason != c.reason || refusal.Class != c.class {
				t.Errorf("got %+v, %v", got, refusal)
			}
		})
	}
}

func FuzzFind(f *testing.F) {
	for _, s := range []string{"Bearer a.b.c", "bearer  a", "Basic YTpi", "Bearer a,Bearer b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, refusal := Find(withProofs(request(value), "d.e.f"))
		if (c == Credential{}) == (refusal == nil) {
			t.Fatalf("%+v, %v", c, refusal)
		}
		if refusal != nil {
			return
		}
		scheme := value[:len(c.Scheme)]
		if !strings.EqualFold(scheme, string(c.Scheme)) || value[len(scheme):] != " "+c.Token || c.Token == "" || strings.ContainsAny(c.Token, " ,\t\r\n;=+/") {
			t.Fatalf("%q gave %+v", value, c)
		}
	})
}
