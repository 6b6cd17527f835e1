-- +goose Up
--
-- A credential that is deleted takes the tokens got with it along: its id stays for the revocation list as long as such a token may live. Like a change
-- of an agent it takes the next number of the counter in its own transaction (00002_revocation.sql), by a trigger.

-- No foreign key: agent and organization may be deleted as well.
create table deleted_credentials (
    org_id     uuid        not null,
    agent_id   uuid        not null,
    id         uuid        not null,
    deleted_at timestamptz not null,
    constraint deleted_credentials_pkey primary key (org_id, agent_id, id)
);
create index deleted_credentials_deleted_at_idx on deleted_credentials (deleted_at);
alter table deleted_credentials enable row level security;
alter table deleted_credentials force row level security;
create policy own_organization on deleted_credentials to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on deleted_credentials for select to agentidp_platform using (true);
grant insert on deleted_credentials to agentidp_app;
grant select on deleted_credentials to agentidp_platform;

-- Credentials that go with their agent need no entry: the agent has one. The time is that of the deletion and not of the transaction's start: a token may
-- have been issued while the transaction waited for it.
-- +goose StatementBegin
create function credentials_count_revocation() returns trigger language plpgsql as $$
begin
    if not exists (select from agentidp.agents where org_id = old.org_id and id = old.agent_id) then
        return null;
    end if;
    insert into agentidp.deleted_credentials (org_id, agent_id, id, deleted_at) values (old.org_id, old.agent_id, old.id, clock_timestamp());
    update agentidp.revocation_sequence
    set value = greatest(value + 1, floor(extract(epoch from clock_timestamp()) * 1000)::bigint);
    return null;
end
$$;
-- +goose StatementEnd

create trigger credentials_revocation_deleted after delete on credentials for each row
    execute function credentials_count_revocation();
