package policies
import ("testing";"context";"os";"strings")
func BenchmarkSub(b *testing.B) {
	for _, q := range strings.Fields(os.Getenv("Q")) {
		p := compileMesh(b, q, routes(200))
		in := request("GET", "/things3", identity("org_b","parts:read","things:read"))
		b.Run(q, func(b *testing.B){ b.ReportAllocs(); for b.Loop() { if _, err := p.Eval(context.Background(), in); err!=nil { b.Log(err) } } })
	}
}
