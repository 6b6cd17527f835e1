-- name: SigningKeys :many
select id, use, algorithm, state, public_jwk, sealed, created_at, activated_at
from signing_keys where state <> 'destroyed' order by created_at, id;

-- name: InsertSigningKey :exec
insert into signing_keys (id, use, algorithm, state, public_jwk, sealed, created_at, activated_at)
values (@id, @use, @algorithm, @state, @public_jwk, @sealed, @created_at, @activated_at);
