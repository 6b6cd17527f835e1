-- +goose Up
--
-- Rules every table here keeps (checked by TestCatalog):
--   * what belongs to an organization has org_id first in its primary key and in every index, and foreign keys carry it along;
--   * row-level security is enabled and forced; agentidp_app sees the organization named by app.org_id of its transaction, nothing without one;
--   * the nil UUID as org_id is the instance itself.
-- The setting reads '' and not NULL after a transaction that set it, hence nullif.

grant usage on schema agentidp to agentidp_app, agentidp_platform, agentidp_auditor;
grant select on schema_version to agentidp_app, agentidp_platform;

create table organizations (
    org_id       uuid        not null,
    slug         text        not null,
    display_name text        not null,
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    version      bigint      not null,
    constraint organizations_pkey primary key (org_id),
    constraint organizations_slug_key unique (slug),
    constraint organizations_not_nil check (org_id <> '00000000-0000-0000-0000-000000000000')
);
alter table organizations enable row level security;
alter table organizations force row level security;
create policy own_organization on organizations for select to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on organizations to agentidp_platform
    using (true) with check (true);
grant select on organizations to agentidp_app;
grant select, insert, update, delete on organizations to agentidp_platform;

create table agents (
    org_id            uuid        not null,
    id                uuid        not null,
    name              text        not null,
    type              text        not null,
    description       text        not null,
    capabilities      text[]      not null,
    scopes            text[]      not null,
    audiences         text[]      not null,
    status            text        not null,
    tokens_not_before timestamptz,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    version           bigint      not null,
    constraint agents_pkey primary key (org_id, id),
    constraint agents_name_key unique (org_id, name),
    constraint agents_organization_fkey foreign key (org_id) references organizations (org_id),
    constraint agents_status_check check (status in ('active', 'suspended', 'revoked'))
);
-- An agent id is a client_id: at the token endpoint it comes without its organization.
create unique index agents_id_key on agents (id);
-- What the revocation list is made of.
create index agents_revocation_idx on agents (org_id, id) where status <> 'active' or tokens_not_before is not null;
alter table agents enable row level security;
alter table agents force row level security;
create policy own_organization on agents to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on agents for select to agentidp_platform using (true);
grant select, insert, update, delete on agents to agentidp_app;
grant select on agents to agentidp_platform;

create table credentials (
    org_id       uuid        not null,
    agent_id     uuid        not null,
    id           uuid        not null,
    kind         text        not null,
    secret_hash  bytea       not null,
    created_at   timestamptz not null,
    expires_at   timestamptz,
    lifetime     interval,             -- what it was made for; a successor gets the same
    last_used_at timestamptz,          -- to the minute
    constraint credentials_pkey primary key (org_id, agent_id, id),
    constraint credentials_agent_fkey foreign key (org_id, agent_id) references agents (org_id, id) on delete cascade,
    constraint credentials_kind_check check (kind in ('client_secret')),
    constraint credentials_hash_check check (length(secret_hash) = 32)
);
alter table credentials enable row level security;
alter table credentials force row level security;
create policy own_organization on credentials to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on credentials for select to agentidp_platform using (true);
grant select, insert, update, delete on credentials to agentidp_app;
grant select (org_id, agent_id, id, secret_hash, created_at, expires_at) on credentials to agentidp_platform;
