package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentidp/agentidp/internal/agentid"
)

const (
	// changesChannel is what the triggers of migration 00011 notify.
	changesChannel = "agentidp_changed"
	// heartEvery is how often the connection is tried, and freshFor for how long what was heard is good: within it a change is heard of, or nothing is remembered.
	heartEvery = 300 * time.Millisecond
	freshFor   = time.Second
	// followAgain is the pause after a connection that failed.
	followAgain = 500 * time.Millisecond
)

// Changes is told what is not any more as it was. Its functions do not wait.
type Changes struct {
	Agent        func(agentid.Agent) // it or one of its credentials
	Organization func(agentid.Organization)
	All          func() // whatever there is: it is not known
}

// Follower hears of changes that any process has committed, on a connection of its own. It knows that it hears: it sends itself a notification at a time, and the
// server delivers them in the order of commits; so one that arrives comes after every change committed before it was sent. A pooler in between that
// shares connections makes it deaf, which it notices.
type Follower struct {
	connect *pgx.ConnConfig
	changes Changes
	now     func() time.Time
	log     *slog.Logger
	fresh   atomic.Int64 // until when, in nanoseconds since the epoch
	deaf    bool         // and said so
}

// NewFollower returns a Follower that hears nothing before Run.
func (s *Store) NewFollower(c Changes, log *slog.Logger) *Follower {
	connect := s.platform.Config().ConnConfig.Copy()
	connect.Tracer = nil
	return &Follower{connect: connect, changes: c, now: s.now, log: log}
}

// Fresh reports whether every change up to about a second ago has been heard of.
func (f *Follower) Fresh() bool { return f.now().UnixNano() < f.fresh.Load() }

// Run follows until ctx ends. A connection that fails is made again; until then Fresh is false.
func (f *Follower) Run(ctx context.Context) error {
	for {
		err := f.follow(ctx)
		f.fresh.Store(0)
		if ctx.Err() != nil {
			return nil
		}
		if !f.deaf {
			f.deaf = true
			f.log.WarnContext(ctx, "changes are not heard of: every client is looked up for every token", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followAgain):
		}
	}
}

func (f *Follower) follow(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, f.connect)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		_ = conn.Close(closing) // it is given up
	}()
	heart := "agentidp_heart_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	for _, channel := range []string{changesChannel, heart} {
		if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return err
		}
	}
	f.changes.All() // it may have changed while nobody listened
	for beat := int64(0); ; beat++ {
		if err := f.beat(ctx, conn, heart, strconv.FormatInt(beat, 10)); err != nil {
			return err
		}
		if f.deaf {
			f.deaf = false
			f.log.InfoContext(ctx, "changes are heard of again")
		}
		if err := f.listen(ctx, conn); err != nil {
			return err
		}
	}
}

// beat sends a notification to ourselves and hears everything until it arrives.
func (f *Follower) beat(ctx context.Context, conn *pgx.Conn, heart, beat string) error {
	ctx, cancel := context.WithTimeout(ctx, freshFor)
	defer cancel()
	sent := f.now()
	if _, err := conn.Exec(ctx, "select pg_notify($1, $2)", heart, beat); err != nil {
		return err
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("no answer from ourselves: %w", err)
		}
		if n.Channel == heart && n.Payload == beat {
			f.fresh.Store(sent.Add(freshFor).UnixNano())
			return nil
		}
		f.hear(n)
	}
}

// listen hears for a while.
func (f *Follower) listen(ctx context.Context, conn *pgx.Conn) error {
	waiting, cancel := context.WithTimeout(ctx, heartEvery)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(waiting)
		switch {
		case err == nil:
			f.hear(n)
		case ctx.Err() == nil && waiting.Err() != nil && !conn.IsClosed():
			return nil
		default:
			return err
		}
	}
}

func (f *Follower) hear(n *pgconn.Notification) {
	if n.Channel != changesChannel {
		return
	}
	kind, text, _ := strings.Cut(n.Payload, " ")
	id, err := uuid.Parse(text)
	switch {
	case err == nil && kind == "agent":
		f.changes.Agent(agentid.FromUUID[agentid.Agent](id))
	case err == nil && kind == "organization":
		f.changes.Organization(agentid.FromUUID[agentid.Organization](id))
	default: // of a newer version, or somebody's own
		f.changes.All()
	}
}
