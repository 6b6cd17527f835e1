-- name: InsertCredential :one
insert into credentials (org_id, agent_id, id, kind, secret_hash, registration, created_at, expires_at, lifetime)
values (@org_id, @agent_id, @id, @kind, @secret_hash, @registration, @created_at, @expires_at, sqlc.narg(expires_at)::timestamptz - @created_at::timestamptz)
returning id, agent_id, kind, registration, created_at, expires_at, last_used_at;

-- name: InsertSuccessor :one
-- InsertSuccessor copies kind and lifetime from the credential it follows, which must be of the kind that the successor was made for.
insert into credentials (org_id, agent_id, id, kind, secret_hash, registration, created_at, expires_at, lifetime)
select old.org_id, old.agent_id, @id, old.kind, @secret_hash, @registration, @created_at::timestamptz, old.lifetime + @created_at::timestamptz, old.lifetime
from credentials as old
where old.org_id = @org_id and old.agent_id = @agent_id and old.id = @old_id and old.kind = @kind
returning id, agent_id, kind, registration, created_at, expires_at, last_used_at;

-- name: Credentials :many
select id, agent_id, kind, registration, created_at, expires_at, last_used_at
from credentials where org_id = @org_id and agent_id = @agent_id order by id;

-- name: CountUnexpiredCredentials :one
select count(*) from credentials
where org_id = @org_id and agent_id = @agent_id and kind = @kind and (expires_at is null or expires_at > @at::timestamptz);

-- name: ExpireCredential :execrows
-- ExpireCredential never prolongs, and finds only what has not expired yet.
update credentials set expires_at = least(expires_at, @expires_at::timestamptz)
where org_id = @org_id and agent_id = @agent_id and id = @id and (expires_at is null or expires_at > @at::timestamptz);

-- name: CredentialExists :one
select exists (select 1 from credentials where org_id = @org_id and agent_id = @agent_id and id = @id);

-- name: DeleteCredential :execrows
delete from credentials where org_id = @org_id and agent_id = @agent_id and id = @id;

-- name: RecordTokenIssued :execrows
-- RecordTokenIssued is one statement, so one round trip and one transaction. The locks make it wait for a suspension or a deletion under way and then see it;
-- both in turn wait for it. A token from before a watermark is not recorded. last_used_at is written once a minute, not once a token.
with live as (
    select credentials.id
    from agents
    join credentials on credentials.org_id = agents.org_id and credentials.agent_id = agents.id
    where agents.org_id = @org_id and agents.id = @agent_id and agents.status = 'active'
        and credentials.org_id = @org_id and credentials.agent_id = @agent_id and credentials.id = @credential_id
        and (credentials.expires_at is null or credentials.expires_at > @ts::timestamptz)
        and (agents.tokens_not_before is null or agents.tokens_not_before <= @issued_at::timestamptz)
        and not exists (select from token_watermarks where token_watermarks.org_id = @org_id and token_watermarks.tokens_not_before > @issued_at::timestamptz)
    for share of agents
    for key share of credentials
), used as (
    update credentials set last_used_at = date_trunc('minute', @ts::timestamptz)
    where org_id = @org_id and agent_id = @agent_id and id in (select live.id from live)
        and (last_used_at is null or last_used_at < date_trunc('minute', @ts::timestamptz))
)
insert into audit_logs (org_id, event, ts, actor, action, target, enc_version, body)
select @org_id, @event, @ts::timestamptz, @actor, @action, @target, @enc_version, @body from live;
