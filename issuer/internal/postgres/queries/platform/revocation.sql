-- name: RevocationList :many
-- RevocationList is one statement, so one snapshot: the sequence, the agents and the credentials belong together. A row is an agent when its credential id is
-- nil; one row with the nil agent id when nothing is revoked. dead_before is a watermark, or when the credential was deleted.
select revocation_sequence.value as sequence, coalesce(dead.agent_id, '00000000-0000-0000-0000-000000000000')::uuid as agent_id,
    coalesce(dead.credential_id, '00000000-0000-0000-0000-000000000000')::uuid as credential_id,
    coalesce(dead.status, '')::text as status, dead.dead_before
from revocation_sequence
left join (
    select agents.id as agent_id, null::uuid as credential_id, agents.status, agents.tokens_not_before as dead_before
    from agents
    where (agents.status <> 'active' or agents.tokens_not_before is not null)
        and (agents.status <> 'active' or agents.tokens_not_before > @since::timestamptz)
    union all
    select deleted_agents.agent_id, null, 'revoked', null
    from deleted_agents
    where deleted_agents.deleted_at > @since::timestamptz
    union all
    select deleted_credentials.agent_id, deleted_credentials.id, '', deleted_credentials.deleted_at
    from deleted_credentials
    where deleted_credentials.deleted_at > @since::timestamptz
) as dead on true
order by dead.agent_id, dead.credential_id nulls first;
