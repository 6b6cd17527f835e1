-- name: InsertRevokedToken :execrows
insert into revoked_tokens (org_id, agent_id, id, expires_at, revoked_at)
values (@org_id, @agent_id, @id, @expires_at, @revoked_at) on conflict do nothing;

-- name: ForgetRevokedTokens :exec
-- ForgetRevokedTokens takes away those of an agent that have expired, or all of them when a watermark has taken their place.
delete from revoked_tokens where org_id = @org_id and agent_id = @agent_id and expires_at < @before::timestamptz;

-- name: CountRevokedTokens :one
select count(*) from revoked_tokens where org_id = @org_id and agent_id = @agent_id;

-- name: RaiseAgentWatermark :one
-- RaiseAgentWatermark never lowers one.
update agents
set tokens_not_before = greatest(tokens_not_before, @tokens_not_before::timestamptz), updated_at = @at, version = version + 1
where org_id = @org_id and id = @id
returning tokens_not_before;

-- name: RaiseOrganizationWatermark :one
-- RaiseOrganizationWatermark never lowers one.
insert into token_watermarks (org_id, tokens_not_before) values (@org_id, @tokens_not_before)
on conflict (org_id) do update set tokens_not_before = greatest(token_watermarks.tokens_not_before, excluded.tokens_not_before)
returning tokens_not_before;

-- name: TokenLives :one
-- TokenLives compares a token with all that may have happened since it was issued. A party is an agent, and the credential the token names or the nil UUID.
with party as (
    select unnest(@agents::uuid[]) as agent_id, unnest(@credentials::uuid[]) as credential_id
)
select (not exists (
    select from party
    left join agents on agents.org_id = @org_id and agents.id = party.agent_id
    left join credentials on credentials.org_id = @org_id and credentials.agent_id = party.agent_id and credentials.id = party.credential_id
    where agents.id is null or agents.status <> 'active' or agents.tokens_not_before > @issued_at::timestamptz
        or (credentials.id is null and party.credential_id <> '00000000-0000-0000-0000-000000000000')
) and not exists (
    select from revoked_tokens where revoked_tokens.org_id = @org_id and revoked_tokens.agent_id = any(@agents::uuid[]) and revoked_tokens.id = @token_id
) and not exists (
    select from token_watermarks where token_watermarks.org_id = @org_id and token_watermarks.tokens_not_before > @issued_at::timestamptz
))::boolean as lives;
