-- +goose Up
--
-- Dynamic client registration (RFC 7591, RFC 7592): the tokens that let somebody register agents in an organization, and what a registered agent manages
-- itself with. Both are stored as keyed hashes of 256 random bits.

create table initial_access_tokens (
    org_id     uuid        not null,
    id         uuid        not null,
    name       text        not null,
    hash       bytea       not null,
    scopes     text[]      not null, -- what agents registered with it may be given, at most
    audiences  text[]      not null, -- what they are given
    uses       integer     not null,
    uses_max   integer     not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    constraint initial_access_tokens_pkey primary key (org_id, id),
    constraint initial_access_tokens_organization_fkey foreign key (org_id) references organizations (org_id) on delete cascade,
    constraint initial_access_tokens_hash_check check (length(hash) = 32),
    constraint initial_access_tokens_uses_check check (uses between 0 and uses_max)
);
alter table initial_access_tokens enable row level security;
alter table initial_access_tokens force row level security;
create policy own_organization on initial_access_tokens to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
grant select, insert, update (uses), delete on initial_access_tokens to agentidp_app;

create table agent_registrations (
    org_id        uuid        not null,
    agent_id      uuid        not null,
    credential_id uuid        not null,
    hash          bytea       not null,
    scopes        text[]      not null, -- of the initial access token
    created_at    timestamptz not null,
    constraint agent_registrations_pkey primary key (org_id, agent_id),
    constraint agent_registrations_agent_fkey foreign key (org_id, agent_id) references agents (org_id, id) on delete cascade,
    constraint agent_registrations_hash_check check (length(hash) = 32)
);
alter table agent_registrations enable row level security;
alter table agent_registrations force row level security;
create policy own_organization on agent_registrations to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
-- The foreign key's cascade deletes as the table's owner.
grant select, insert on agent_registrations to agentidp_app;
