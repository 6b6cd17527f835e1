-- name: RevocationList :many
-- RevocationList is one statement, so one snapshot: the sequence and everything that is revoked belong together. A row is a token when it has a token id (a sign-in when it says so),
-- a credential when it has a credential id, an agent when it has an agent id, a signing key when it has a key id, else an organization; one row with nil ids
-- when nothing is revoked. dead_before is a watermark, or when it was revoked. An organization's own issuer has a list of what is the organization's.
select revocation_sequence.value as sequence, coalesce(dead.org_id, '00000000-0000-0000-0000-000000000000')::uuid as org_id,
    coalesce(dead.agent_id, '00000000-0000-0000-0000-000000000000')::uuid as agent_id,
    coalesce(dead.credential_id, '00000000-0000-0000-0000-000000000000')::uuid as credential_id, coalesce(dead.token_id, '')::text as token_id,
    coalesce(dead.sign_in, false)::boolean as sign_in, coalesce(dead.status, '')::text as status, dead.dead_before, dead.expires_at, coalesce(dead.key_id, '')::text as key_id
from revocation_sequence
left join (
    select agents.org_id, agents.id as agent_id, null::uuid as credential_id, null::text as token_id, agents.status,
        agents.tokens_not_before as dead_before, null::timestamptz as expires_at, null::text as key_id, false as sign_in
    from agents
    where (agents.status <> 'active' or agents.tokens_not_before is not null)
        and (agents.status <> 'active' or agents.tokens_not_before > @since::timestamptz)
    union all
    select deleted_agents.org_id, deleted_agents.agent_id, null, null, 'revoked', deleted_agents.deleted_at, null, null, false
    from deleted_agents
    where deleted_agents.deleted_at > @since::timestamptz
    union all
    select deleted_credentials.org_id, deleted_credentials.agent_id, deleted_credentials.id, null, '', deleted_credentials.deleted_at, null, null, false
    from deleted_credentials
    where deleted_credentials.deleted_at > @since::timestamptz
    union all
    select revoked_tokens.org_id, revoked_tokens.agent_id, null, revoked_tokens.id, '', revoked_tokens.revoked_at, revoked_tokens.expires_at, null, revoked_tokens.sign_in
    from revoked_tokens
    where revoked_tokens.expires_at > @expired::timestamptz
    union all
    select token_watermarks.org_id, null, null, null, '', token_watermarks.tokens_not_before, null, null, false
    from token_watermarks
    where token_watermarks.tokens_not_before > @since::timestamptz
    union all
    select revoked_signing_keys.org_id, null, null, null, '', revoked_signing_keys.revoked_at, null, revoked_signing_keys.id, false
    from revoked_signing_keys
    where revoked_signing_keys.revoked_at > @since::timestamptz
) as dead on sqlc.narg(org_id)::uuid is null or dead.org_id = sqlc.narg(org_id)::uuid
order by dead.org_id, dead.agent_id, dead.credential_id nulls first, dead.token_id nulls first, dead.key_id;
