-- name: RevocationList :many
-- RevocationList is one statement, so one snapshot: the sequence and the agents belong together. One row with the nil agent id when nothing is revoked.
select revocation_sequence.value as sequence, coalesce(dead.id, '00000000-0000-0000-0000-000000000000')::uuid as agent_id,
    coalesce(dead.status, '')::text as status, dead.tokens_not_before
from revocation_sequence
left join (
    select agents.id, agents.status, agents.tokens_not_before
    from agents
    where (agents.status <> 'active' or agents.tokens_not_before is not null)
        and (agents.status <> 'active' or agents.tokens_not_before > @since::timestamptz)
    union all
    select deleted_agents.agent_id, 'revoked', null
    from deleted_agents
    where deleted_agents.deleted_at > @since::timestamptz
) as dead on true
order by dead.id;
