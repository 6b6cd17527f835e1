package checkresp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func changes(t *testing.T, steps ...func(*Changes) error) Changes {
	t.Helper()
	var c Changes
	for _, step := range steps {
		if err := step(&c); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestNarrowed(t *testing.T) {
	t.Parallel()
	set := func(name string) func(*Changes) error {
		return func(c *Changes) error { return c.SetHeader(name, "v") }
	}
	remove := func(name string) func(*Changes) error {
		return func(c *Changes) error { return c.RemoveHeader(name) }
	}
	metadata := func(tree map[string]any) func(*Changes) error {
		return func(c *Changes) error { return c.SetMetadata(tree) }
	}
	many := func(prefix string, n int) func(*Changes) error {
		return func(c *Changes) error {
			for i := range n {
				if err := c.AddResponseHeader(fmt.Sprintf("%s-%d", prefix, i), "v"); err != nil {
					return err
				}
			}
			return nil
		}
	}
	mesh := changes(t, set("x-tenant"), remove("x-debug"), many("x-m", 40), metadata(map[string]any{"plan": "basic"}))
	free := []string{"x-tier", "x-tenant", "x-debug"}
	for name, c := range map[string]struct {
		by   Changes
		want error
	}{
		"nothing":                   {Changes{}, nil},
		"a free header":             {changes(t, set("X-Tier")), nil},
		"removes a free header":     {changes(t, remove("x-tier")), nil},
		"one that is not free":      {changes(t, set("x-role")), ErrWidens},
		"removes one that is not":   {changes(t, remove("x-forwarded-for")), ErrWidens},
		"what the mesh set":         {changes(t, set("x-tenant")), ErrWidens},
		"removes what the mesh set": {changes(t, remove("x-tenant")), ErrWidens},
		"what the mesh removed":     {changes(t, set("x-debug")), ErrWidens},
		"a parameter":               {changes(t, func(c *Changes) error { return c.SetQueryParameter("a", "b") }), ErrWidens},
		"no parameter":              {changes(t, func(c *Changes) error { return c.RemoveQueryParameter("a") }), ErrWidens},
		"headers of the answer":     {changes(t, many("x-o", 24)), nil},
		"too many of them":          {changes(t, many("x-o", 25)), ErrTooMany},
		"metadata":                  {changes(t, metadata(map[string]any{"plan": "gold"})), nil},
		"too much metadata":         {changes(t, metadata(map[string]any{"plan": strings.Repeat("g", metadataBytesMax-40)})), ErrMetadata},
	} {
		before := len(mesh.set) + len(mesh.addResponse) + len(mesh.metadata)
		got, err := mesh.Narrowed(c.by, free)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err == nil && (len(got.set) != 1+len(c.by.set) || !got.touches("x-tenant") || !got.touches("x-debug") || got.metadata[0].name != "plan") {
			t.Errorf("%s: %+v", name, got)
		}
		if err == nil {
			for _, m := range got.metadata[1:] {
				if m.name != metadataNarrowing {
					t.Errorf("%s: metadata %s", name, m.name)
				}
			}
			if _, explicit := Explicit(Allow(Grant{DecisionID: "d", Changes: got}).Wire()); !explicit {
				t.Errorf("%s: no answer can be made of it", name)
			}
		}
		if len(mesh.set)+len(mesh.addResponse)+len(mesh.metadata) != before {
			t.Errorf("%s: the remembered changes were changed", name)
		}
	}
	taken := changes(t, metadata(map[string]any{metadataNarrowing: "mine"}))
	if _, err := taken.Narrowed(changes(t, metadata(map[string]any{"a": "b"})), nil); !errors.Is(err, ErrMetadata) {
		t.Errorf("a name that the mesh policy has taken: %v", err)
	}
	deep := any("x")
	for range metadataDepthMax - 1 {
		deep = map[string]any{"d": deep}
	}
	by := changes(t, metadata(deep.(map[string]any)))
	got, err := mesh.Narrowed(by, nil)
	if _, explicit := Explicit(Allow(Grant{DecisionID: "d", Changes: got}).Wire()); err != nil || !explicit {
		t.Errorf("the deepest metadata: %v, explicit %v", err, explicit)
	}
}
