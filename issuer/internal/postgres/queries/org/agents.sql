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
-- LockLiveAgent waits for a suspension under way, and then sees it. A watermark of the organization is raised without a lock: what it misses is older than the watermark, and so dead.
select agents.id from agents
where agents.org_id = @org_id and agents.id = @id and agents.status = 'active'
    and (agents.tokens_not_before is null or agents.tokens_not_before <= @issued_at::timestamptz)
    and not exists (select from token_watermarks where token_watermarks.org_id = @org_id and token_watermarks.tokens_not_before > @issued_at::timestamptz)
for share of agents;

-- name: TokensNotBefore :one
-- TokensNotBefore is the watermark of an active agent, or that of its organization when it is later. No row when there is no such agent or credential.
select greatest(agents.tokens_not_before, token_watermarks.tokens_not_before)::timestamptz as tokens_not_before
from agents
join credentials on credentials.org_id = agents.org_id and credentials.agent_id = agents.id
left join token_watermarks on token_watermarks.org_id = agents.org_id
where agents.org_id = @org_id and agents.id = @id and agents.status = 'active'
    and credentials.org_id = @org_id and credentials.id = @credential_id and (credentials.expires_at is null or credentials.expires_at > @at::timestamptz)
    and greatest(agents.tokens_not_before, token_watermarks.tokens_not_before) is not null;
