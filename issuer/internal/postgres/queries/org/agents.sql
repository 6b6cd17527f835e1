-- name: InsertAgent :exec
insert into agents (org_id, id, name, type, description, capabilities, scopes, audiences, serves, dpop_bound, certificate_bound, status, tokens_not_before, created_at, updated_at, version)
values (@org_id, @id, @name, @type, @description, @capabilities, @scopes, @audiences, @serves, @dpop_bound, @certificate_bound, @status, @tokens_not_before, @created_at, @updated_at, @version);

-- name: Agent :one
select * from agents where org_id = @org_id and id = @id;

-- name: AgentForUpdate :one
select * from agents where org_id = @org_id and id = @id for update;

-- name: Agents :many
select * from agents where org_id = @org_id and id > @after order by id limit @row_limit;

-- name: UpdateAgent :exec
update agents
set name = @name, type = @type, description = @description, capabilities = @capabilities, scopes = @scopes, audiences = @audiences,
    serves = @serves, dpop_bound = @dpop_bound, certificate_bound = @certificate_bound,
    status = @status, tokens_not_before = @tokens_not_before, updated_at = @updated_at, version = @version
where org_id = @org_id and id = @id;

-- name: DeleteAgent :exec
delete from agents where org_id = @org_id and id = @id;

-- name: LockLiveAgent :execrows
-- LockLiveAgent waits for a suspension under way, and then sees it.
select id from agents
where org_id = @org_id and id = @id and status = 'active' and (tokens_not_before is null or tokens_not_before <= @issued_at::timestamptz)
for share;
