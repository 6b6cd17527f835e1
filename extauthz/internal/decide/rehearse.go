package decide

import (
	"context"
	_ "embed" // for the request that policies are rehearsed with
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/agentidp/agentidp/internal/policy"
)

// rehearsalJSON is the input of a usual request.
//
//go:embed rehearsal.json
var rehearsalJSON []byte

// What a big request has; parsed bodies may have 16,384 values, of any kind.
const (
	rehearsalHeaders = 80
	rehearsalValues  = 4096
)

// Compile makes a policy that may be put in force: one that compiles, and that is not beyond its limits at each decision of cfg when it is
// rehearsed. The error is a *policy.CompileError, unless ctx ends.
func Compile(ctx context.Context, sources []policy.Source, cfg policy.Config) (*policy.Policy, error) {
	p, err := policy.Compile(ctx, sources, cfg)
	if err != nil {
		return nil, err
	}
	decisions := map[string]*policy.Policy{cfg.Path: p}
	for _, path := range cfg.Routes {
		decisions[path], _ = p.Route(path)
	}
	for path, decision := range decisions {
		if err := Rehearse(ctx, decision); err != nil {
			p.Close()
			if ctx.Err() != nil {
				return nil, err
			}
			return nil, &policy.CompileError{Problems: []policy.Problem{unfit(path, p.DecidedIn(path), err)}}
		}
	}
	return p, nil
}

// placesMax is how many places of a decision a problem names.
const placesMax = 8

// unfit is the problem of a decision that is beyond its limits. It names every place where the decision is made: nothing says which of them, or of what
// they call, takes so long.
func unfit(path string, places []policy.Place, err error) policy.Problem {
	p := policy.Problem{Message: path + ": " + err.Error()}
	switch n := len(places); {
	case n == 0:
	case n == 1:
		p.File, p.Line = places[0].File, places[0].Line
	default:
		var names []string
		for _, place := range places[:min(n, placesMax)] {
			names = append(names, place.String())
		}
		if n > placesMax {
			names = append(names, fmt.Sprintf("%d more", n-placesMax))
		}
		p.Message += " (it is decided in " + strings.Join(names, ", ") + ")"
	}
	return p
}

// Rehearse asks a policy that is to be put in force about a few requests: a usual one, one of nobody, one with a body, a big one. It
// fails if every one of them takes the policy beyond its time or the size of values, since no request would be decided. It does
// not fail for decisions, errors or undefined decisions: policies rely on what these requests do not have.
func Rehearse(ctx context.Context, p *policy.Policy) error {
	var first error
	for _, input := range rehearsal() {
		_, err := p.Eval(ctx, input)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, policy.ErrTimeout), errors.Is(err, policy.ErrTooLarge), errors.Is(err, policy.ErrQuarantined),
			errors.Is(err, policy.ErrOverloaded): // nobody else uses the policy: its workers are still at the requests before
			if first == nil {
				first = err
			}
		default:
			return nil
		}
	}
	return fmt.Errorf("every request it was tried with took it beyond its limits: %w", first)
}

var rehearsal = sync.OnceValue(func() []policy.Value {
	usual, err := policy.FromJSON(rehearsalJSON)
	if err != nil {
		panic("rehearsal.json: " + err.Error())
	}
	return []policy.Value{usual, rehearsed(anonymous), rehearsed(withBody), rehearsed(big)}
})

// rehearsed is the usual request, changed.
func rehearsed(change func(map[string]any)) policy.Value {
	usual, err := policy.FromJSON(rehearsalJSON)
	if err == nil {
		var tree any
		if tree, err = policy.ToAny(usual); err == nil {
			change(tree.(map[string]any))
			usual, err = policy.FromAny(tree)
		}
	}
	if err != nil {
		panic("rehearsal.json: " + err.Error())
	}
	return usual
}

func anonymous(input map[string]any) {
	delete(input, "identity")
	delete(input, "source_principal")
	delete(headersOf(input), "authorization")
}

func withBody(input map[string]any) {
	input["parsed_body"] = map[string]any{"amount": "10", "currency": "EUR", "items": []any{"a", "b"}}
}

func big(input map[string]any) {
	for i := range rehearsalHeaders {
		headersOf(input)["x-rehearsal-"+strconv.Itoa(i)] = strings.Repeat("r", 256)
	}
	item := map[string]any{"name": "rehearsal", "parts": []any{"a", "b", "c"}}
	var items []any
	for range rehearsalValues / 8 {
		items = append(items, maps.Clone(item))
	}
	input["parsed_body"] = map[string]any{"items": items}
	var segments []any
	for range 64 {
		segments = append(segments, "rehearsal")
	}
	input["parsed_path"] = segments
}

func headersOf(input map[string]any) map[string]any {
	for _, name := range []string{"attributes", "request", "http", "headers"} {
		input = input[name].(map[string]any)
	}
	return input
}
