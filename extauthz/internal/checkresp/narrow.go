package checkresp

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// metadataNarrowing is the member of the dynamic metadata that holds what a narrowing policy says.
const metadataNarrowing = "organization_policy"

// ErrWidens is a change that a policy may not make which is there to narrow what another one allows.
var ErrWidens = errors.New("a change that only the mesh policy may make")

// Narrowed returns c with what a second policy adds to it, which may narrow what the first one allows and never widen it. What was
// allowed is the request as the first policy saw it: a second policy that could change it would turn it into one nobody allowed. So of
// the request it sets and removes only the headers that are listed, and none that the first one touched; query parameters it leaves
// alone. Headers for the client, and metadata under a name of its own, it may add.
func (c Changes) Narrowed(by Changes, headers []string) (Changes, error) {
	if by.none() {
		return c, nil
	}
	if len(by.setQuery)+len(by.removeQuery) > 0 {
		return Changes{}, fmt.Errorf("%w: query parameters", ErrWidens)
	}
	for _, h := range by.set {
		if !slices.Contains(headers, h.name) || c.touches(h.name) {
			return Changes{}, fmt.Errorf("%w: header %s", ErrWidens, h.name)
		}
	}
	for _, name := range by.removeRequest {
		if !slices.Contains(headers, name) || c.touches(name) {
			return Changes{}, fmt.Errorf("%w: header %s", ErrWidens, name)
		}
	}
	apart, err := by.Apart()
	if err != nil {
		return Changes{}, err
	}
	both := Changes{
		set: slices.Concat(c.set, by.set), addResponse: slices.Concat(c.addResponse, by.addResponse),
		removeRequest: slices.Concat(c.removeRequest, by.removeRequest), setQuery: c.setQuery, removeQuery: c.removeQuery,
		metadata: slices.Concat(c.metadata, apart.metadata),
	}
	return both, both.check()
}

// Apart returns c with its metadata under the name that belongs to narrowing policies.
func (c Changes) Apart() (Changes, error) {
	if len(c.metadata) == 0 {
		return c, nil
	}
	var object []byte
	for _, m := range c.metadata {
		object = appendBytes(object, fieldFields, m.entry)
	}
	entry := appendText(nil, fieldKey, []byte(metadataNarrowing))
	entry = appendBytes(entry, fieldValue, appendBytes(nil, kindStruct, object))
	c.metadata = []metadatum{{metadataNarrowing, entry}}
	return c, c.check()
}

func (c *Changes) none() bool {
	return len(c.set)+len(c.addResponse)+len(c.removeRequest)+len(c.setQuery)+len(c.removeQuery)+len(c.metadata) == 0
}

func (c *Changes) touches(header string) bool {
	return slices.Contains(c.removeRequest, header) || slices.ContainsFunc(c.set, func(h setting) bool { return h.name == header })
}

// check holds changes that were put together to the limits of changes that were added one by one.
func (c *Changes) check() error {
	values, size, narrowing := 0, 0, 0
	for _, h := range c.set {
		values += len(h.values)
	}
	for _, m := range c.metadata {
		size += 1 + protowire.SizeBytes(len(m.entry))
		if m.name == metadataNarrowing {
			narrowing++
		}
	}
	switch {
	case max(values, len(c.addResponse), len(c.removeRequest)) > changesMax:
		return ErrTooMany
	case size > metadataBytesMax || narrowing > 1:
		return ErrMetadata
	}
	return nil
}
