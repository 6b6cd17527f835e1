package extauthz

import (
	"context"
	"fmt"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/internal/fetch"
)

// openDecisionLog starts the decision log when there is to be one; the function returned writes out what is queued.
func openDecisionLog(c *settings.DecisionLog, p Process) (*decisionlog.Log, func(), error) {
	if c == nil {
		return nil, func() {}, nil
	}
	sink, closeSink, err := openSink(c, p)
	if err != nil {
		return nil, nil, err
	}
	log := decisionlog.New(sink, decisionlog.Config{Labels: c.Labels, SampleAllowed: c.SampleAllowed, Mask: c.Mask})
	return log, func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushMax)
		defer cancel()
		if log.Close(ctx) == nil { // else the sink is still in use, and what it cannot deliver is counted
			closeSink()
		}
	}, nil
}

func openSink(d *settings.DecisionLog, p Process) (decisionlog.Sink, func(), error) {
	switch {
	case d.HTTP != nil:
		client, err := fetch.New(fetch.Config{
			CAFile: string(d.HTTP.CA), ContentTypes: []string{"application/json"}, AllowPrivate: true, AllowPlaintext: true,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("http: %w", err)
		}
		return decisionlog.NewHTTP(client, d.HTTP.URL, d.HTTP.Token.Reveal(), d.HTTP.Wait.Duration, p.Log), client.Close, nil
	case d.File != "":
		file, err := decisionlog.OpenFile(string(d.File))
		if err != nil {
			return nil, nil, err
		}
		return file, func() { _ = file.Close() }, nil
	default:
		return decisionlog.ToWriter(p.Stdout), func() {}, nil
	}
}
