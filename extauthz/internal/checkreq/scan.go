package checkreq

import (
	"math"
	"slices"
	"time"
)

// received is what a check holds beside what goes into the Request as it is: parts to be checked first, and what was
// found wrong on the way. The rules decide in which order they speak.
type received struct {
	http            bool // there is an HTTP request
	query, fragment string
	body, rawBody   string

	headers     Headers // of both forms, up to HeadersMax
	named       int     // how many of them came by the map: the first ones
	headerCount int     // of all that came
	valueTwice  bool    // a field of header_map has two values

	metadataBad bool // metadata no policy can be shown
}

// The field numbers below are those of envoy/service/auth/v3/external_auth.proto and attribute_context.proto, and of the
// messages in envoy/config/core/v3 they use. Known fields that nobody reads are still read as what they are: nothing is
// accepted here that a decoder would refuse.

// check reads a CheckRequest; false when it is none.
func (r *Request) check(m message, in *received) bool {
	for m.next() {
		if m.number == 1 {
			m.require(r.attributeContext(m.onePart(), in))
		}
	}
	return !m.bad
}

func (r *Request) attributeContext(m message, in *received) bool {
	for m.next() {
		switch m.number {
		case 1:
			m.require(r.Source.read(m.onePart()))
		case 2:
			m.require(r.Destination.read(m.onePart()))
		case 4:
			m.require(r.request(m.onePart(), in))
		case 10:
			r.Extensions = m.texts(r.Extensions, ExtensionsMax+1)
		case 11:
			m.require(in.metadata(m.onePart(), &r.Metadata))
		case 12:
			session := m.onePart()
			for session.next() {
				if session.number == 1 {
					r.SNI = session.oneText()
				}
			}
			m.require(!session.bad)
		case 13:
			m.require(in.metadata(m.onePart(), &r.RouteMetadata))
		}
	}
	return !m.bad
}

func (r *Request) request(m message, in *received) bool {
	for m.next() {
		switch m.number {
		case 1:
			var seconds, nanos uint64
			stamp := m.onePart()
			for stamp.next() {
				switch stamp.number {
				case 1:
					seconds = stamp.oneVarint()
				case 2:
					nanos = stamp.oneVarint()
				}
			}
			m.require(!stamp.bad)
			r.Time = time.Unix(int64(seconds), int64(int32(nanos))).UTC()
		case 2:
			in.http = true
			m.require(r.httpRequest(m.onePart(), in))
		}
	}
	return !m.bad
}

func (r *Request) httpRequest(m message, in *received) bool {
	for m.next() {
		switch m.number {
		case 1:
			r.ID = m.oneText()
		case 2:
			r.Method = m.oneText()
		case 3:
			name, value, ok := m.anyPart().textEntry()
			m.require(ok)
			in.addNamed(name, value)
		case 4:
			r.Target = m.oneText()
		case 5:
			r.Host = m.oneText()
		case 6:
			r.Scheme = m.oneText()
		case 7:
			in.query = m.oneText()
		case 8:
			in.fragment = m.oneText()
		case 9:
			r.Size = int64(m.oneVarint())
		case 10:
			r.Protocol = m.oneText()
		case 11:
			in.body = m.oneText()
		case 12:
			in.rawBody = m.oneBytes()
		case 13:
			m.require(in.headerMap(m.onePart()))
		}
	}
	return !m.bad
}

// addNamed adds a header of the map, before those of header_map in whatever order the two came.
func (in *received) addNamed(name, value string) {
	if in.headerCount++; in.headerCount <= HeadersMax {
		in.headers = slices.Insert(in.headers, in.named, Header{name, value})
		in.named++
	}
}

func (in *received) addRaw(name, value string) {
	if in.headerCount++; in.headerCount <= HeadersMax {
		in.headers = append(in.headers, Header{name, value})
	}
}

func (in *received) headerMap(m message) bool {
	for m.next() {
		if m.number != 1 {
			continue
		}
		var name, value, raw string
		field := m.anyPart()
		for field.next() {
			switch field.number {
			case 1:
				name = field.oneText()
			case 2:
				value = field.oneText()
			case 3:
				raw = field.oneBytes()
			}
		}
		m.require(!field.bad)
		if value != "" && raw != "" {
			in.valueTwice = true
		}
		in.addRaw(name, value+raw) // raw_value, or value from a sender that does not know raw_value
	}
	return !m.bad
}

// read reads a Peer.
func (p *Peer) read(m message) bool {
	for m.next() {
		switch m.number {
		case 1:
			m.require(p.address(m.onePart()))
		case 2:
			p.Service = m.oneText()
		case 3:
			p.Labels = m.texts(p.Labels, math.MaxInt)
		case 4:
			p.Principal = m.oneText()
		case 5:
			p.Certificate = m.oneText()
		}
	}
	return !m.bad
}

func (p *Peer) address(m message) bool {
	for m.next() {
		if m.number > 3 {
			continue
		}
		m.once(0) // the three are members of one oneof
		switch a := m.anyPart(); m.number {
		case 1:
			m.require(p.socketAddress(a))
		case 2:
			for a.next() {
				switch a.number {
				case 1:
					p.Pipe = a.oneText()
				case 2:
					a.oneVarint()
				}
			}
			m.require(!a.bad)
		case 3: // an internal listener of Envoy
			for a.next() {
				if a.number <= 2 {
					a.oneText()
				}
			}
			m.require(!a.bad)
		}
	}
	return !m.bad
}

func (p *Peer) socketAddress(m message) bool {
	for m.next() {
		switch m.number {
		case 1, 6:
			m.oneVarint()
		case 2:
			p.IP = m.oneText()
		case 3, 4: // a port, or the name of one
			m.once(0)
			if m.number == 4 {
				m.anyText()
				continue
			}
			port := m.oneVarint()
			m.require(port <= math.MaxUint32)
			p.Port = uint32(port)
		case 5, 7:
			m.oneText()
		}
	}
	return !m.bad
}
