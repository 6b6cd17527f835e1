package main

import (
	"bytes"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// headerForm is how Envoy writes the request's headers.
type headerForm int

const (
	rawHeaders    headerForm = iota // header_map, with encode_raw_headers as in manifests/envoy
	mappedHeaders                   // headers, Envoy's default and the only form opa-envoy-plugin reads
)

// requestID stands in every message where the client writes a different id for each request.
const requestID = "5f0c1d2e-3b4a-4c5d-8e6f-000000000000"

const requestIDDigits = 12 // at its end, the ones that change

// message is a ready-made CheckRequest.
type message struct {
	wire []byte
	ids  []int // where the changing digits of the request id stand
}

// newMessage is the CheckRequest of GET /orders/42?x=1 with twelve headers, about 1,500 bytes, as Envoy sends it inside a
// mesh: with the principals of both sides.
func newMessage(authorization string, form headerForm, more ...[2]string) (message, error) {
	headers := append([][2]string{
		{":authority", "orders.shop.example"},
		{":method", "GET"},
		{":path", "/orders/42?x=1"},
		{":scheme", "https"},
		{"accept", "application/json"},
		{"accept-encoding", "gzip, br"},
		{"authorization", authorization},
		{"user-agent", "order-reader/2.3 (linux; x86_64)"},
		{"x-forwarded-for", "10.4.17.33"},
		{"x-forwarded-proto", "https"},
		{"x-request-id", requestID},
		{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}, more...)
	request := &authv3.AttributeContext_HttpRequest{
		Id: "7241698340143236441", Method: "GET", Host: "orders.shop.example", Path: "/orders/42?x=1", Scheme: "https", Protocol: "HTTP/2",
	}
	if form == rawHeaders {
		request.HeaderMap = &corev3.HeaderMap{}
		for _, h := range headers {
			request.HeaderMap.Headers = append(request.HeaderMap.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
		}
	} else {
		request.Headers = map[string]string{}
		for _, h := range headers {
			request.Headers[h[0]] = h[1]
		}
	}
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      peer("10.4.17.33", 41822, "spiffe://mesh.example/ns/shop/sa/reader"),
		Destination: peer("10.4.20.9", 8443, "spiffe://mesh.example/ns/shop/sa/orders"),
		Request:     &authv3.AttributeContext_Request{Time: &timestamppb.Timestamp{Seconds: 1_800_000_000, Nanos: 123_456_000}, Http: request},
	}})
	if err != nil {
		return message{}, err
	}
	m := message{wire: wire}
	for at := 0; ; {
		next := bytes.Index(wire[at:], []byte(requestID))
		if next < 0 {
			break
		}
		at += next + len(requestID)
		m.ids = append(m.ids, at-requestIDDigits)
	}
	if len(m.ids) == 0 {
		return message{}, errors.New("the message has no request id")
	}
	return m, nil
}

func peer(ip string, port uint32, principal string) *authv3.AttributeContext_Peer {
	return &authv3.AttributeContext_Peer{
		Principal: principal,
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}},
	}
}

func newMessages(tokens []string, form headerForm) ([]message, error) {
	messages := make([]message, len(tokens))
	for i, token := range tokens {
		var err error
		if messages[i], err = newMessage("Bearer "+token, form); err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
	}
	return messages, nil
}

// write puts the message into the buffer under a request id nobody had, and returns it.
func (m *message) write(buffer []byte, id uint64) []byte {
	buffer = append(buffer[:0], m.wire...)
	const hex = "0123456789abcdef"
	for digit := range requestIDDigits {
		c := hex[id>>(4*(requestIDDigits-1-digit))&0xf]
		for _, at := range m.ids {
			buffer[at+digit] = c
		}
	}
	return buffer
}
