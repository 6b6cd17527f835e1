-- name: InsertClientCredential :one
insert into client_credentials (org_id, client_id, id, kind, secret_hash, registration, created_at, expires_at, lifetime)
values (@org_id, @client_id, @id, @kind, @secret_hash, @registration, @created_at, @expires_at, sqlc.narg(expires_at)::timestamptz - @created_at::timestamptz)
returning id, client_id, kind, registration, created_at, expires_at, last_used_at;

-- name: InsertClientSuccessor :one
-- InsertClientSuccessor copies kind and lifetime from the credential it follows, which must be of the kind that the successor was made for.
insert into client_credentials (org_id, client_id, id, kind, secret_hash, registration, created_at, expires_at, lifetime)
select old.org_id, old.client_id, @id, old.kind, @secret_hash, @registration, @created_at::timestamptz, old.lifetime + @created_at::timestamptz, old.lifetime
from client_credentials as old
where old.org_id = @org_id and old.client_id = @client_id and old.id = @old_id and old.kind = @kind
returning id, client_id, kind, registration, created_at, expires_at, last_used_at;

-- name: ClientCredentials :many
select id, client_id, kind, registration, created_at, expires_at, last_used_at
from client_credentials where org_id = @org_id and client_id = @client_id order by id;

-- name: CountUnexpiredClientCredentials :one
select count(*) from client_credentials
where org_id = @org_id and client_id = @client_id and (expires_at is null or expires_at > @at::timestamptz);

-- name: ExpireClientCredential :execrows
-- ExpireClientCredential never prolongs, and finds only what has not expired yet.
update client_credentials set expires_at = least(expires_at, @expires_at::timestamptz)
where org_id = @org_id and client_id = @client_id and id = @id and (expires_at is null or expires_at > @at::timestamptz);

-- name: ClientCredentialExists :one
select exists (select 1 from client_credentials where org_id = @org_id and client_id = @client_id and id = @id);

-- name: DeleteClientCredential :execrows
delete from client_credentials where org_id = @org_id and client_id = @client_id and id = @id;

-- name: ClientHasCredentials :one
select exists (select 1 from client_credentials where org_id = @org_id and client_id = @client_id);

-- name: ClientCredentialUsed :exec
update client_credentials set last_used_at = @at::timestamptz
where org_id = @org_id and client_id = @client_id and id = @id and (last_used_at is null or last_used_at < @at::timestamptz);
