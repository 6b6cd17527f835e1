-- +goose Up
--
-- Signing keys get an issuer (the instance's is the nil UUID, else one per organization) and a life: pending, active, retiring, destroyed.
--
-- Each change takes the next number of one counter row, in its own transaction, and writes it to its issuer. The counter row stays locked until that
-- transaction ends, so numbers become visible in their order: a process that polls for numbers above the last it saw misses no change. The issuer's number is
-- also what a change is based on: of two processes that both mean to make the next step, one finds another number and does nothing.

create table signing_schedule (
    singleton    boolean     not null default true,
    revision     bigint      not null,
    leader       text        not null, -- the process that runs the schedule
    leader_until timestamptz not null,
    constraint signing_schedule_pkey primary key (singleton),
    constraint signing_schedule_one_row check (singleton)
);
insert into signing_schedule (revision, leader, leader_until) values (1, '', '-infinity');
grant select, update (revision) on signing_schedule to agentidp_app;
grant select, update (revision, leader, leader_until) on signing_schedule to agentidp_platform;

create table signing_issuers (
    org_id    uuid        not null,
    revision  bigint      not null,
    algorithm text        not null, -- of access tokens, chosen by an operator; '' is the configured one
    due_at    timestamptz not null, -- when the schedule has to look again
    constraint signing_issuers_pkey primary key (org_id)
);
create index signing_issuers_revision_idx on signing_issuers (revision);

alter table signing_keys
    add column org_id       uuid not null default '00000000-0000-0000-0000-000000000000',
    add column wanted_at    timestamptz, -- an operator asked for it to be activated
    add column retired_at   timestamptz,
    add column revoked_at   timestamptz,
    add column destroyed_at timestamptz;
alter table signing_keys alter column org_id drop default;

-- Before row-level security is forced, which holds for the owner too.
insert into signing_issuers (org_id, revision, algorithm, due_at)
select distinct org_id, 1, '', '-infinity'::timestamptz from signing_keys;

alter table signing_keys drop constraint signing_keys_pkey;
alter table signing_keys
    add constraint signing_keys_pkey primary key (org_id, id),
    add constraint signing_keys_issuer_fkey foreign key (org_id) references signing_issuers (org_id) on delete cascade,
    -- A destroyed key leaves no private half behind, and only a destroyed key can have been revoked.
    add constraint signing_keys_destroyed_check check ((state = 'destroyed') = (length(sealed) = 0) and (revoked_at is null or state = 'destroyed'));
drop index signing_keys_active_key;
create unique index signing_keys_active_key on signing_keys (org_id, use) where state = 'active';
create unique index signing_keys_pending_key on signing_keys (org_id, use) where state = 'pending';

alter table signing_issuers enable row level security;
alter table signing_issuers force row level security;
create policy own_organization on signing_issuers to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on signing_issuers for select to agentidp_platform using (true);
create policy instance_insert on signing_issuers for insert to agentidp_platform
    with check (org_id = '00000000-0000-0000-0000-000000000000');
create policy instance_update on signing_issuers for update to agentidp_platform
    using (org_id = '00000000-0000-0000-0000-000000000000')
    with check (org_id = '00000000-0000-0000-0000-000000000000');
-- The keys of an organization go with it, by the foreign key.
create policy organization_delete on signing_issuers for delete to agentidp_platform
    using (org_id <> '00000000-0000-0000-0000-000000000000');
grant select, insert, update on signing_issuers to agentidp_app, agentidp_platform;
grant delete on signing_issuers to agentidp_platform;

alter table signing_keys enable row level security;
alter table signing_keys force row level security;
create policy own_organization on signing_keys to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy instance on signing_keys to agentidp_platform
    using (org_id = '00000000-0000-0000-0000-000000000000')
    with check (org_id = '00000000-0000-0000-0000-000000000000');
-- What a key is never changes: only where it is in its life.
grant select, insert, update (state, sealed, activated_at, wanted_at, retired_at, revoked_at, destroyed_at) on signing_keys to agentidp_app, agentidp_platform;

-- Keys that were revoked while tokens signed with them may still be alive. No foreign key: the issuer may be deleted as well.
create table revoked_signing_keys (
    org_id     uuid        not null,
    id         text        not null,
    revoked_at timestamptz not null,
    constraint revoked_signing_keys_pkey primary key (org_id, id)
);
create index revoked_signing_keys_revoked_at_idx on revoked_signing_keys (revoked_at);
alter table revoked_signing_keys enable row level security;
alter table revoked_signing_keys force row level security;
create policy own_organization on revoked_signing_keys to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on revoked_signing_keys for select to agentidp_platform using (true);
create policy instance_insert on revoked_signing_keys for insert to agentidp_platform
    with check (org_id = '00000000-0000-0000-0000-000000000000');
grant insert on revoked_signing_keys to agentidp_app, agentidp_platform;
grant select on revoked_signing_keys to agentidp_platform;
grant update (value) on revocation_sequence to agentidp_platform;

-- +goose StatementBegin
create function signing_keys_count_revocation() returns trigger language plpgsql as $$
begin
    insert into agentidp.revoked_signing_keys (org_id, id, revoked_at) values (new.org_id, new.id, clock_timestamp());
    update agentidp.revocation_sequence
    set value = greatest(value + 1, floor(extract(epoch from clock_timestamp()) * 1000)::bigint);
    return null;
end
$$;
-- +goose StatementEnd
create trigger signing_keys_revocation_revoked after update of revoked_at on signing_keys for each row
    when (old.revoked_at is null and new.revoked_at is not null)
    execute function signing_keys_count_revocation();
