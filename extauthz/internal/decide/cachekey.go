package decide

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
)

// key builds the key of one request. Buffers are kept between requests.
//
// A key is a number for the policy, then what was decided by besides the input, then each part in the order of the
// policy's list. Every text has its length in front and every absence a mark of its own, so that no part can be taken
// for a piece of its neighbour: two requests have one key only when they agree in every part.
type key struct {
	bytes []byte
	names []string // scratch: names of a map while they are sorted
}

const (
	markAbsent = iota // the object around it is not there
	markMissing
	markPresent
	markNotObject
)

// fill makes the key of a request under a policy.
func (k *key) fill(b *binding, s *Subject) {
	k.bytes = binary.AppendUvarint(k.bytes[:0], b.number)
	k.flag(s.ShowAuth)
	k.flag(s.Issuer != nil)
	if s.Issuer != nil {
		k.bytes = binary.AppendUvarint(k.bytes, s.Issuer.Epoch)
	}
	for i := range b.parts {
		k.part(&b.parts[i], s)
	}
}

func (k *key) part(p *part, s *Subject) {
	r := s.Request
	switch p.kind {
	case partMethod:
		k.text(r.Method)
	case partTarget:
		k.text(r.Target)
	case partHost:
		k.text(r.Host)
	case partHostName:
		k.text(r.HostName)
	case partScheme:
		k.text(r.Scheme)
	case partProtocol:
		k.text(r.Protocol)
	case partSize:
		k.bytes = binary.AppendVarint(k.bytes, r.Size)
	case partHeader:
		k.header(p.name, s)
	case partSegments:
		k.texts(r.Segments)
	case partQuery:
		k.text(r.Query)
	case partExtensions:
		k.textMap(r.Extensions)
	case partExtension:
		k.member(r.Extensions, p.name)
	case partMetadata:
		k.metadata(r.Metadata, p.path)
	case partRouteMetadata:
		k.metadata(r.RouteMetadata, p.path)
	case partServerName:
		k.text(r.SNI)
	case partIdentity:
		k.identity(p, s)
	default:
		k.peer(p, r)
	}
}

func (k *key) peer(p *part, r *checkreq.Request) {
	peer, kind := &r.Source, p.kind
	if kind >= partDestination {
		peer, kind = &r.Destination, kind-partDestination+partSource
	}
	switch kind {
	case partSourceAddress:
		k.address(peer)
	case partSourcePrincipal:
		k.text(peer.Principal)
	case partSourceCertificate:
		k.text(peer.Certificate)
	case partSourceService:
		k.text(peer.Service)
	case partSourceLabels:
		k.textMap(peer.Labels)
	case partSourceLabel:
		k.member(peer.Labels, p.name)
	default: // all of it
		k.address(peer)
		k.text(peer.Principal)
		k.text(peer.Certificate)
		k.text(peer.Service)
		k.textMap(peer.Labels)
	}
}

func (k *key) address(p *checkreq.Peer) {
	k.text(p.IP)
	k.bytes = binary.AppendUvarint(k.bytes, uint64(p.Port))
	k.text(p.Pipe)
}

// identity reads the document that was made when the token was verified: what the policy would be shown.
func (k *key) identity(p *part, s *Subject) {
	if s.Identity == nil {
		k.mark(markAbsent)
		return
	}
	k.mark(markPresent)
	k.bytes = p.selector.AppendKey(k.bytes, s.Identity.Document())
}

// header writes the joined value, as the policy sees it.
func (k *key) header(name string, s *Subject) {
	fields := s.Request.Headers.Values(name)
	if len(fields) == 0 {
		k.mark(markMissing)
		return
	}
	k.mark(markPresent)
	if name == "authorization" && !s.ShowAuth && len(fields) == 1 {
		k.text(Mask(fields[0].Value))
		return
	}
	length := len(fields) - 1
	for i := range fields {
		length += len(fields[i].Value)
	}
	k.bytes = binary.AppendUvarint(k.bytes, uint64(length))
	for i := range fields {
		if i > 0 {
			k.bytes = append(k.bytes, ',')
		}
		k.bytes = append(k.bytes, fields[i].Value...)
	}
}

func (k *key) mark(m byte) { k.bytes = append(k.bytes, m) }

func (k *key) flag(set bool) {
	if set {
		k.mark(1)
	} else {
		k.mark(0)
	}
}

func (k *key) text(s string) {
	k.bytes = append(binary.AppendUvarint(k.bytes, uint64(len(s))), s...)
}

func (k *key) texts(list []string) {
	k.bytes = binary.AppendUvarint(k.bytes, uint64(len(list)))
	for _, s := range list {
		k.text(s)
	}
}

// member tells an empty map, which is absent from the input, from one without the member.
func (k *key) member(m map[string]string, name string) {
	value, ok := m[name]
	switch {
	case ok:
		k.mark(markPresent)
		k.text(value)
	case len(m) > 0:
		k.mark(markMissing)
	default:
		k.mark(markAbsent)
	}
}

func (k *key) textMap(m map[string]string) {
	k.bytes = binary.AppendUvarint(k.bytes, uint64(len(m)))
	k.names = k.names[:0]
	for name := range m {
		k.names = append(k.names, name)
	}
	slices.Sort(k.names)
	for _, name := range k.names {
		k.text(name)
		k.text(m[name])
	}
	clear(k.names) // a kept buffer keeps no request
}

// metadata writes what is at the path, or how deep the path exists and why it ends there.
func (k *key) metadata(m map[string]any, path []string) {
	if m == nil {
		k.mark(markAbsent)
		return
	}
	var v any = m
	for depth, name := range path {
		object, ok := v.(map[string]any)
		member, found := object[name]
		if !ok || !found || depth == 0 && len(m) == 0 {
			mark := byte(markMissing)
			if !ok {
				mark = markNotObject
			}
			k.mark(mark)
			k.bytes = binary.AppendUvarint(k.bytes, uint64(depth))
			k.flag(len(m) == 0) // then there is no filterMetadata either
			return
		}
		v = member
	}
	k.mark(markPresent)
	k.tree(v)
}

// tree writes a value of metadata: its kind, its length where it has one, its contents.
func (k *key) tree(v any) {
	switch v := v.(type) {
	case nil:
		k.mark('n')
	case bool:
		k.mark('b')
		k.flag(v)
	case string:
		k.mark('s')
		k.text(v)
	case json.Number:
		k.mark('d')
		k.text(string(v))
	case []any:
		k.mark('l')
		k.bytes = binary.AppendUvarint(k.bytes, uint64(len(v)))
		for _, element := range v {
			k.tree(element)
		}
	case map[string]any:
		k.mark('o')
		k.bytes = binary.AppendUvarint(k.bytes, uint64(len(v)))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			k.text(name)
			k.tree(v[name])
		}
	default: // cannot be shown to a policy, so nothing is decided about it
		k.mark('z')
	}
}
