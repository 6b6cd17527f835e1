-- name: SigningIssuer :one
select revision, algorithm from signing_issuers where org_id = @org_id;

-- name: SigningKeys :many
-- SigningKeys has every key that is not destroyed, and those that were revoked not long ago.
select id, use, algorithm, state, public_jwk, sealed, created_at, activated_at, wanted_at, retired_at, revoked_at, destroyed_at
from signing_keys
where org_id = @org_id and (state <> 'destroyed' or revoked_at > @revoked_since::timestamptz)
order by created_at, id;

-- name: NextSigningRevision :one
update signing_schedule set revision = revision + 1 returning revision;

-- name: InsertSigningIssuer :exec
insert into signing_issuers (org_id, revision, algorithm, due_at) values (@org_id, @revision, @algorithm, @due_at);

-- name: UpdateSigningIssuer :execrows
-- UpdateSigningIssuer finds nothing when somebody else changed the issuer's keys since they were read.
update signing_issuers set revision = @revision, algorithm = @algorithm, due_at = @due_at
where org_id = @org_id and revision = @seen;

-- name: PostponeSigningIssuer :exec
update signing_issuers set due_at = @due_at where org_id = @org_id and revision = @seen;

-- name: InsertSigningKey :exec
insert into signing_keys (org_id, id, use, algorithm, state, public_jwk, sealed, created_at, activated_at, wanted_at)
values (@org_id, @id, @use, @algorithm, @state, @public_jwk, @sealed, @created_at, @activated_at, @wanted_at);

-- name: MoveSigningKey :execrows
-- MoveSigningKey takes a key to the next state of its life. A time that is given is written once.
update signing_keys
set state = @to_state, activated_at = coalesce(activated_at, sqlc.narg(activated_at)), wanted_at = coalesce(wanted_at, sqlc.narg(wanted_at)),
    retired_at = coalesce(retired_at, sqlc.narg(retired_at)), revoked_at = coalesce(revoked_at, sqlc.narg(revoked_at)),
    destroyed_at = coalesce(destroyed_at, sqlc.narg(destroyed_at)), sealed = case when @to_state = 'destroyed' then ''::bytea else sealed end
where org_id = @org_id and id = @id and state = @from_state;
