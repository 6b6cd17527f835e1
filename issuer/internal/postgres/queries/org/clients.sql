-- name: InsertClient :exec
insert into clients (org_id, id, name, type, authentication, redirect_uris, scopes, audiences, refresh_tokens, require_pushed, require_dpop, pkce_optional, created_at, updated_at, version, require_certificate)
values (@org_id, @id, @name, @type, @authentication, @redirect_uris, @scopes, @audiences, @refresh_tokens, @require_pushed, @require_dpop, @pkce_optional, @created_at, @updated_at, @version, @require_certificate);

-- name: Client :one
select * from clients where org_id = @org_id and id = @id;

-- name: ClientForUpdate :one
select * from clients where org_id = @org_id and id = @id for update;

-- name: LockClient :execrows
-- LockClient waits for a deletion under way, and then sees it.
select id from clients where org_id = @org_id and id = @id for key share;

-- name: Clients :many
select * from clients where org_id = @org_id and id > @after order by id limit @row_limit;

-- name: UpdateClient :exec
update clients
set name = @name, type = @type, authentication = @authentication, redirect_uris = @redirect_uris, scopes = @scopes, audiences = @audiences,
    refresh_tokens = @refresh_tokens, require_pushed = @require_pushed, require_dpop = @require_dpop, require_certificate = @require_certificate, pkce_optional = @pkce_optional,
    updated_at = @updated_at, version = @version
where org_id = @org_id and id = @id;

-- name: DeleteClient :exec
delete from clients where org_id = @org_id and id = @id;
