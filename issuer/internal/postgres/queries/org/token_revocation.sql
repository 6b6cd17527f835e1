-- name: InsertRevokedTokens :execrows
insert into revoked_tokens (org_id, agent_id, id, expires_at, revoked_at, sign_in)
select @org_id, unnest(@agents::uuid[]), unnest(@ids::text[]), unnest(@expiries::timestamptz[]), @revoked_at, unnest(@sign_ins::boolean[])
on conflict do nothing;

-- name: ForgetRevokedTokens :exec
-- ForgetRevokedTokens takes away those of some agents that have expired, or all of them when a watermark has taken their place.
delete from revoked_tokens where org_id = @org_id and agent_id = any(@agents::uuid[]) and expires_at < @before::timestamptz;

-- name: RaiseAgentWatermarks :many
-- RaiseAgentWatermarks is for those of some agents that have more than @tokens_max revoked tokens. It never lowers one. In the second before a watermark tokens are dated to it:
-- a second one within that second is a second later.
with crowded as (
    select revoked_tokens.agent_id from revoked_tokens
    where revoked_tokens.org_id = @org_id and revoked_tokens.agent_id = any(@agents::uuid[])
    group by revoked_tokens.agent_id having count(*) > @tokens_max::bigint
)
update agents
set tokens_not_before = case when agents.tokens_not_before = @tokens_not_before::timestamptz then agents.tokens_not_before + interval '1 second'
    else greatest(agents.tokens_not_before, @tokens_not_before::timestamptz) end, updated_at = @at, version = agents.version + 1
from crowded
where agents.org_id = @org_id and agents.id = crowded.agent_id
returning agents.id, agents.tokens_not_before;

-- name: RaiseOrganizationWatermark :one
-- RaiseOrganizationWatermark never lowers one, as RaiseAgentWatermarks.
insert into token_watermarks (org_id, tokens_not_before) values (@org_id, @tokens_not_before)
on conflict (org_id) do update set tokens_not_before = case when token_watermarks.tokens_not_before = excluded.tokens_not_before
    then excluded.tokens_not_before + interval '1 second' else greatest(token_watermarks.tokens_not_before, excluded.tokens_not_before) end
returning tokens_not_before;

-- name: TokenLives :one
-- TokenLives compares a token with all that may have happened since it was issued. A party is an agent, and the credential the token names or the nil UUID; so is the sign-in.
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
) and (@sign_in::uuid = '00000000-0000-0000-0000-000000000000' or exists (
    select from sign_ins where sign_ins.org_id = @org_id and sign_ins.id = @sign_in::uuid and sign_ins.revoked_at is null
)) and not exists (
    select from token_watermarks where token_watermarks.org_id = @org_id and token_watermarks.tokens_not_before > @issued_at::timestamptz
))::boolean as lives;
