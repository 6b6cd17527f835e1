package clientauth

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/clientdocument"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// oneDocument answers every question alike.
type oneDocument struct {
	client clientdocument.Client
	err    error
	asked  int
}

func (o *oneDocument) Resolve(context.Context, string) (clientdocument.Client, error) {
	o.asked++
	return o.client, o.err
}

func (o *oneDocument) Keys(context.Context, string, string) (*jose.KeySet, error) {
	return nil, errors.New("not asked")
}

type noUses struct{}

func (noUses) UseUp(context.Context, agentid.Organization, issuance.SingleUse) error {
	return errors.New("not asked")
}

const documentID = "https://apps.example/notes"

func setupDocument(by credentials.Method, err error) (*oneDocument, *scriptedGate, *RelyingPartyAuthenticator) {
	o, g := &oneDocument{client: clientdocument.Client{Client: clients.Client{Document: documentID, Authentication: by}}, err: err}, &scriptedGate{}
	return o, g, NewRelyingPartyAuthenticator(nil, noUses{}, Trust{}, g, NewDocuments(o, g, time.Now))
}

// The gate is asked before anything is fetched, and told of what is not there; not of what cannot be had now.
func TestDocumentsAskTheGate(t *testing.T) {
	t.Parallel()
	issuer := issuers.Issuer{ID: "https://id.example"}
	for name, tt := range map[string]struct {
		found, admit error
		kind         problem.Kind
		asked        int
		gate         []string
	}{
		"there":    {nil, nil, 0, 1, []string{"admit " + documentID}},
		"unknown":  {clientdocument.ErrUnknown, nil, problem.NotFound, 1, []string{"admit " + documentID, "failed " + documentID}},
		"busy":     {clientdocument.ErrBusy, nil, problem.Unavailable, 1, []string{"admit " + documentID}},
		"given up": {context.Canceled, nil, problem.Unavailable, 1, []string{"admit " + documentID}},
		"barred":   {nil, &oauth.Error{Status: 429}, problem.Internal, 0, []string{"admit " + documentID}},
	} {
		o, g, p := setupDocument(credentials.None, tt.found)
		g.admit = tt.admit
		c, err := p.Find(t.Context(), issuer, documentID)
		if good := name == "there"; (err == nil) != good || good != (c.Document == documentID) || !good && problem.KindOf(err) != tt.kind || o.asked != tt.asked {
			t.Errorf("%s: %+v, %v, asked %d times", name, c, err, o.asked)
		}
		if diff := cmp.Diff(tt.gate, g.asked); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	none := NewRelyingPartyAuthenticator(nil, nil, Trust{}, &scriptedGate{}, nil)
	if _, err := none.Find(t.Context(), issuer, documentID); problem.KindOf(err) != problem.NotFound {
		t.Errorf("where documents are not served: %v", err)
	}
}

// A secret is never good, and nothing is fetched for it; a check is asked with the keys of the document, and by none with nothing.
func TestDocumentsProve(t *testing.T) {
	t.Parallel()
	o, g, p := setupDocument(credentials.None, nil)
	if _, _, err := p.authenticate(t.Context(), secret{credentials.ClientSecretPost, documentID, "guess"}); oauthCode(err) != oauth.InvalidClient || o.asked != 0 {
		t.Errorf("%v, asked %d times", err, o.asked)
	}
	if diff := cmp.Diff([]string{"admit " + documentID, "failed " + documentID}, g.asked); diff != "" {
		t.Error(diff)
	}
	if c, method, err := p.authenticate(t.Context(), nothing{documentID}); err != nil || method != credentials.None || c.Document != documentID {
		t.Errorf("%+v %s %v", c, method, err)
	}
	for by, registered := range map[credentials.Method]int{credentials.None: 0, credentials.PrivateKeyJWT: 1} {
		_, _, p := setupDocument(by, nil)
		c, _, err := p.documents.registry().byCheck(t.Context(), documentID, func(_ context.Context, list []credentials.Registered) (agentid.Credential, error) {
			if len(list) != registered {
				t.Errorf("%s: checked against %+v", by, list)
			}
			return agentid.New[agentid.Credential](), nil
		})
		if good := registered == 1; (err == nil) != good || good && c.Document != documentID || !good && !errors.Is(err, credentials.ErrAuthentication) {
			t.Errorf("%s: %+v %v", by, c, err)
		}
	}
	_, _, p = setupDocument(credentials.PrivateKeyJWT, nil)
	if c, _, err := p.authenticate(t.Context(), nothing{documentID}); oauthCode(err) != oauth.InvalidClient || c.Document != "" {
		t.Errorf("by its name alone: %+v %v", c, err)
	}
	_, _, p = setupDocument(credentials.PrivateKeyJWT, clientdocument.ErrBusy)
	if _, _, err := p.authenticate(t.Context(), nothing{documentID}); oauthCode(err) != oauth.TemporarilyUnavailable {
		t.Errorf("busy: %v", err)
	}
}

func oauthCode(err error) oauth.Code {
	if e, ok := errors.AsType[*oauth.Error](err); ok {
		return e.Code
	}
	return ""
}
