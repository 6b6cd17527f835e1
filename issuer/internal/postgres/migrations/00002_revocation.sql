-- +goose Up
--
-- Every change a sidecar must hear of takes the next number of one counter row, in its own transaction. The row stays locked until that transaction
-- ends, so numbers become visible in their order: who reads sequence N sees every change up to N and none after. Triggers do it, so that neither a new
-- code path nor an operator with psql can forget.
--
-- Numbers are milliseconds since the epoch where the clock allows, else one more than the last: after a restore from a backup, or in a new database, the
-- next change still gets a higher number than the sidecars have seen, so they do not refuse the list as a rollback.

create table revocation_sequence (
    singleton boolean not null default true,
    value     bigint  not null,
    constraint revocation_sequence_pkey primary key (singleton),
    constraint revocation_sequence_one_row check (singleton)
);
insert into revocation_sequence (value) values (floor(extract(epoch from clock_timestamp()) * 1000));
grant select, update (value) on revocation_sequence to agentidp_app;
grant select on revocation_sequence to agentidp_platform;

-- Agents that are gone while tokens of theirs may still be alive. No foreign key: the organization may be deleted as well.
create table deleted_agents (
    org_id     uuid        not null,
    agent_id   uuid        not null,
    deleted_at timestamptz not null,
    constraint deleted_agents_pkey primary key (org_id, agent_id)
);
create index deleted_agents_deleted_at_idx on deleted_agents (deleted_at);
alter table deleted_agents enable row level security;
alter table deleted_agents force row level security;
create policy own_organization on deleted_agents to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on deleted_agents for select to agentidp_platform using (true);
grant insert on deleted_agents to agentidp_app;
grant select on deleted_agents to agentidp_platform;

-- Names are qualified: a temporary table must not be able to stand in for the counter.
-- +goose StatementBegin
create function agents_count_revocation() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into agentidp.deleted_agents (org_id, agent_id, deleted_at) values (old.org_id, old.id, now());
    end if;
    update agentidp.revocation_sequence
    set value = greatest(value + 1, floor(extract(epoch from clock_timestamp()) * 1000)::bigint);
    return null;
end
$$;
-- +goose StatementEnd

create trigger agents_revocation_updated after update of status, tokens_not_before on agents for each row
    when (old.status is distinct from new.status or old.tokens_not_before is distinct from new.tokens_not_before)
    execute function agents_count_revocation();
create trigger agents_revocation_deleted after delete on agents for each row
    execute function agents_count_revocation();
