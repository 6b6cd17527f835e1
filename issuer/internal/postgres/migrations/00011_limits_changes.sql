-- +goose Up

-- Limits an organization was given. NULL, and no row, is the limit of the instance.
create table organization_limits (
    org_id            uuid        not null,
    per_minute        bigint,
    burst             bigint,
    client_per_minute bigint,
    client_burst      bigint,
    updated_at        timestamptz not null,
    version           bigint      not null,
    constraint organization_limits_pkey primary key (org_id),
    constraint organization_limits_organization_fkey foreign key (org_id) references organizations (org_id) on delete cascade,
    constraint organization_limits_whole check ((per_minute is null) = (burst is null) and (client_per_minute is null) = (client_burst is null)),
    constraint organization_limits_positive check (per_minute > 0 and burst > 0 or per_minute is null),
    constraint organization_limits_client_positive check (client_per_minute > 0 and client_burst > 0 or client_per_minute is null)
);
alter table organization_limits enable row level security;
alter table organization_limits force row level security;
create policy own_organization on organization_limits for select to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on organization_limits to agentidp_platform
    using (true) with check (true);
grant select on organization_limits to agentidp_app;
grant select, insert, update on organization_limits to agentidp_platform;

-- What issuers remember between requests, they forget when they hear of a change (postgres.Follower). Triggers say it, in the transaction of the change, so that neither
-- a new code path nor an operator with psql can forget. The issuance of a token changes nothing that is remembered: last_used_at is left out.
-- +goose StatementBegin
create function agents_say_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('agentidp_changed', 'agent ' || coalesce(new.id, old.id)::text);
    return null;
end
$$;
-- +goose StatementEnd
-- +goose StatementBegin
create function credentials_say_changed() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and to_jsonb(old) - 'last_used_at' = to_jsonb(new) - 'last_used_at' then
        return null;
    end if;
    perform pg_notify('agentidp_changed', 'agent ' || coalesce(new.agent_id, old.agent_id)::text);
    return null;
end
$$;
-- +goose StatementEnd
-- +goose StatementBegin
create function organizations_say_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('agentidp_changed', 'organization ' || coalesce(new.org_id, old.org_id)::text);
    return null;
end
$$;
-- +goose StatementEnd
create trigger agents_changed after update or delete on agents for each row execute function agents_say_changed();
create trigger credentials_changed after insert or update or delete on credentials for each row execute function credentials_say_changed();
create trigger organizations_changed after update or delete on organizations for each row execute function organizations_say_changed();
create trigger organization_limits_changed after insert or update or delete on organization_limits for each row execute function organizations_say_changed();
