package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

const (
	callTimeout = 10 * time.Second
	tryTimeout  = time.Second          // of one of them
	retryEvery  = 2 * time.Millisecond // while a server starts
)

// rawCodec sends bytes that are ready and hands back what came: what the client would spend on protobuf is not measured.
type rawCodec struct{}

var errRaw = errors.New("rawCodec takes bytes")

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(*[]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
	}
	return nil, errRaw
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return errRaw
	}
	n := data.Len()
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	*b = (*b)[:n]
	data.CopyTo(*b)
	return nil
}

// Name implements encoding.CodecV2. The content type is that of every gRPC client.
func (rawCodec) Name() string { return "proto" }

func connect(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("extauthz"),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) { return dialPatiently(ctx, path) }))
}

// dialPatiently connects as soon as somebody listens. gRPC itself would wait a second after the first failure.
func dialPatiently(ctx context.Context, path string) (net.Conn, error) {
	again := time.NewTicker(retryEvery)
	defer again.Stop()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-again.C:
		}
	}
}

func ask(ctx context.Context, c *grpc.ClientConn, question, answer *[]byte) error {
	return c.Invoke(ctx, authv3.Authorization_Check_FullMethodName, question, answer, grpc.WaitForReady(true))
}

// awaitOutcome asks until the server answers as it should.
func awaitOutcome(ctx context.Context, socket string, m message, want outcome) error {
	c, err := connect(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	again := time.NewTicker(retryEvery)
	defer again.Stop()
	var last error // the latest that says more than that time is up
	for id := uint64(0); ; id++ {
		err := tryOutcome(ctx, c, m.write(nil, id), want)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", last)
		case <-again.C:
		}
	}
}

func tryOutcome(ctx context.Context, c *grpc.ClientConn, question []byte, want outcome) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var answer []byte
	if err := ask(ctx, c, &question, &answer); err != nil {
		return err
	}
	if err := want.check(answer); err != nil {
		return err
	}
	return want.checkWhole(answer)
}
