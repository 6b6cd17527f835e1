package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

// retryAfter is what a caller is told when the database is busy, restarting or gone.
const retryAfter = time.Second

// conflicts names every constraint a well-formed request can run into. One that is not here is our mistake, hence Internal.
var conflicts = map[string]*problem.Error{
	"organization_slugs_pkey":   {Kind: problem.Conflict, Code: "slug_taken", Field: "/slug", Detail: "another organization has this slug, or had it"},
	"agents_name_key":           {Kind: problem.Conflict, Code: "name_taken", Field: "/name", Detail: "another agent of the organization has this name"},
	"agents_organization_fkey":  {Kind: problem.Conflict, Code: "organization_has_agents", Detail: "the organization still has agents"},
	"clients_organization_fkey": {Kind: problem.Conflict, Code: "organization_has_clients", Detail: "the organization still has relying parties"},
	"clients_name_key":          {Kind: problem.Conflict, Code: "client_name_taken", Field: "/name", Detail: "another client of the organization has this name"},
	"signing_keys_active_key":   {Kind: problem.Conflict, Code: "active_key_exists", Detail: "the use has an active key already"},
	"signing_keys_pkey":         {Kind: problem.Conflict, Code: "key_exists", Detail: "the key is stored already"},
	"signing_keys_pending_key":  {Kind: problem.Conflict, Code: "pending_key_exists", Detail: "the use has a pending key already"},
	"signing_issuers_pkey":      {Kind: problem.Conflict, Code: "signing_keys_changing", Detail: "another process made the first keys"},
}

// asProblem maps an error of the driver to the taxonomy; every exported method of Store ends with it. noun names what was looked for.
func asProblem(err error, noun string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*problem.Error](err); ok {
		return err
	}
	if _, ok := issuance.AsUsed(err); ok {
		return err
	}
	if _, ok := issuance.AsOutdated(err); ok {
		return err
	}
	if isNoRows(err) {
		return notFound(noun)
	}
	if errors.Is(err, errNoConnection) {
		return unavailable(err)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return ofServer(e)
	}
	if connectionTrouble(err) {
		return unavailable(err)
	}
	return &problem.Error{Kind: problem.Internal, Err: err}
}

// ofServer maps by SQLSTATE (PostgreSQL documentation, appendix A).
func ofServer(e *pgconn.PgError) error {
	switch e.Code {
	case "23505", "23503": // unique_violation, foreign_key_violation
		if c, ok := conflicts[e.ConstraintName]; ok {
			p := *c
			p.Err = e
			return &p
		}
	case "40001", "40P01", "55P03", "57014", "25006", "25P03": // serialization, deadlock, lock timeout, statement timeout, read-only (a replica), idle in transaction
		return unavailable(e)
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "53", "57": // connection exception, insufficient resources, operator intervention (shutdown, starting up)
		return unavailable(e)
	}
	return &problem.Error{Kind: problem.Internal, Err: e}
}

// connectionTrouble is what a caller may simply try again: the server was not reached, or went away before it answered.
func connectionTrouble(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func unavailable(err error) error {
	return &problem.Error{Kind: problem.Unavailable, Code: "store_unavailable", Detail: "try again later", RetryAfter: retryAfter, Err: err}
}

// notFound is also the answer for what belongs to another organization.
func notFound(noun string) error {
	return &problem.Error{Kind: problem.NotFound, Code: strings.ReplaceAll(noun, " ", "_") + "_not_found", Detail: "there is no such " + noun}
}

// versionDiffers is a write based on an older version than the stored one.
func versionDiffers() error {
	return &problem.Error{Kind: problem.PreconditionFailed, Code: "version_differs", Detail: "it was changed since this version was read"}
}

// errNoSequence is a database someone took the counter row from.
var errNoSequence = errors.New("the row of revocation_sequence is missing")

func isNoRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// violates reports whether err is a violation of the constraint.
func violates(err error, constraint string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.ConstraintName == constraint
}
