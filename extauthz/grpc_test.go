package extauthz

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/unary"
)

// dial serves the edge on a unix socket and connects to it with a client that knows nothing of this package.
func dial(t testing.TB, e *edge) *grpc.ClientConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "edge") // t.TempDir is too long for a socket path
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := NewGRPCServer(e.Server, func() error { return nil })
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		<-served
		_ = os.RemoveAll(dir)
	})
	return conn
}

func TestOverASocket(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	token := "Bearer " + e.signer(t)(nil)
	client := authv3.NewAuthorizationClient(dial(t, e))
	call := func(in *authv3.CheckRequest) answer {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		m, err := client.Check(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		return read(t, m)
	}
	if got := call(request("GET", "/orders", "authorization", token)); got.status != 200 || got.headers["x-agent-id"] != "agt_1" {
		t.Errorf("got %+v", got)
	}
	if got := call(request("GET", "/orders")); got.status != 401 || got.headers["www-authenticate"] == "" {
		t.Errorf("got %+v", got)
	}
	if got := call(&authv3.CheckRequest{}); got.status != 400 {
		t.Errorf("got %+v", got)
	}
	if got := call(request("GET", "/orders", "authorization", token, "x", "\xff")); got.status != 400 || got.code != "request_header" {
		t.Errorf("got %+v", got)
	}
	var group sync.WaitGroup
	for n := range 64 {
		group.Go(func() {
			want, in := 200, request("GET", "/orders", "authorization", token)
			if n%2 == 1 {
				want, in = 401, request("GET", "/orders", "authorization", token+"A")
			}
			if m, err := client.Check(context.Background(), in); err != nil || read(t, m).status != want {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
	group.Wait()
}

// rawCodec sends bytes as they are and decodes answers as protobuf does.
type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// CVE-2023-27488: a check that does not decode is denied by us, not left to failure_mode_allow.
func TestUndecodableMessagesAreDenied(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	conn := dial(t, e)
	invalid := request("GET", "/orders")
	invalid.Attributes.Request.Http.HeaderMap = nil
	invalid.Attributes.Request.Http.Headers = map[string]string{"x": "MARK"}
	notUTF8, err := proto.Marshal(invalid)
	if err != nil {
		t.Fatal(err)
	}
	notUTF8 = []byte(strings.Replace(string(notUTF8), "MARK", "\xff\xff\xff\xff", 1))
	for name, b := range map[string][]byte{
		"text that is not UTF-8": notUTF8,
		"rubbish":                []byte("\xff\xff\xff\xff\xff"),
		"cut off":                protowire.AppendTag(nil, 1, protowire.BytesType),
		"nothing":                {},
	} {
		out := &authv3.CheckResponse{}
		err := conn.Invoke(context.Background(), authv3.Authorization_Check_FullMethodName, b, out, grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
		if err != nil || read(t, out).status != 400 {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

// The health method answers what it can read: compressed messages are refused as by the method of Envoy.
func TestHealthRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	client := healthv1.NewHealthClient(dial(t, newEdge(t, denyingNothing, nil)))
	in := &healthv1.HealthCheckRequest{Service: serviceName}
	if out, err := client.Check(t.Context(), in); err != nil || out.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", out, err)
	}
	if out, err := client.Check(t.Context(), in, grpc.UseCompressor(gzip.Name)); status.Code(err) != codes.Internal {
		t.Errorf("compressed: %v, %v", out, err)
	}
	method := serveHealth(func() error { return nil })
	for fault, want := range map[unary.Fault]unary.Code{unary.FaultNone: unary.OK, unary.FaultMalformed: unary.Internal, unary.FaultTooLarge: unary.Internal, unary.FaultOverload: unary.Unavailable} {
		if answer, code, later := method(&unary.Call{Fault: fault}); code != want || (answer != nil) != (want == unary.OK) || later != nil {
			t.Errorf("fault %d: code %d", fault, code)
		}
	}
}

func TestGRPCLimits(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	client := authv3.NewAuthorizationClient(dial(t, e))
	big := request("POST", "/orders")
	big.Attributes.Request.Http.RawBody = make([]byte, checkreq.MessageBytesMax)
	if m, err := client.Check(context.Background(), big); err != nil || read(t, m).status != 400 {
		t.Errorf("%v, %v", m, err)
	}
	big.Attributes.Request.Http.RawBody = make([]byte, 8*checkreq.MessageBytesMax) // which is not received
	if m, err := client.Check(context.Background(), big); err != nil || read(t, m).code != "request_limit" {
		t.Errorf("%v, %v", m, err)
	}
	big.Attributes.Request.Http.RawBody = nil
	big.Attributes.Request.Http.HeaderMap.Headers = append(big.Attributes.Request.Http.HeaderMap.Headers,
		&corev3.HeaderValue{Key: "x", RawValue: []byte(strings.Repeat("x", 100<<10))})
	if m, err := client.Check(context.Background(), big); err != nil || read(t, m).code != "request_limit" {
		t.Errorf("%v, %v", m, err)
	}
}
