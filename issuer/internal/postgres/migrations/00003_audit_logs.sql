-- +goose Up
--
-- Insert-only. body holds the exact bytes of the record (package audit, enc_version); the other columns are copies to search by. tx and id order the
-- rows for the sequencer that builds the trees: nobody may choose them, so they are not in the insert grant.

create table audit_logs (
    id          bigint generated always as identity,
    tx          xid8        not null default pg_current_xact_id(),
    org_id      uuid        not null,
    event       uuid        not null,
    ts          timestamptz not null,
    actor       text        not null,
    action      text        not null,
    target      text        not null,
    enc_version smallint    not null,
    body        bytea       not null,
    constraint audit_logs_pkey primary key (org_id, id),
    constraint audit_logs_event_key unique (org_id, event)
);
alter table audit_logs enable row level security;
alter table audit_logs force row level security;
create policy own_organization_insert on audit_logs for insert to agentidp_app
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy own_organization_select on audit_logs for select to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
-- The platform role writes the rows of what it changes (organizations, signing keys) and reads those of the instance.
create policy across_organizations_insert on audit_logs for insert to agentidp_platform with check (true);
create policy instance_select on audit_logs for select to agentidp_platform
    using (org_id = '00000000-0000-0000-0000-000000000000');
create policy auditor_select on audit_logs for select to agentidp_auditor using (true);
grant select, insert (org_id, event, ts, actor, action, target, enc_version, body) on audit_logs to agentidp_app, agentidp_platform;
grant select on audit_logs to agentidp_auditor;

-- The second fence, for those whom grants do not stop.
-- +goose StatementBegin
create function audit_logs_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'audit_logs is insert-only' using errcode = 'insufficient_privilege';
end
$$;
-- +goose StatementEnd
create trigger audit_logs_no_change before update or delete on audit_logs for each row execute function audit_logs_refuse();
create trigger audit_logs_no_truncate before truncate on audit_logs for each statement execute function audit_logs_refuse();
