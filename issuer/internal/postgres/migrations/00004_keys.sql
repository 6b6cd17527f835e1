-- +goose Up

-- Data keys under the key-encryption key (internal/seal). The nil UUID is the scope of the instance.
create table keysets (
    org_id     uuid        not null,
    wrapped    bytea       not null,
    kek_id     text        not null,
    created_at timestamptz not null,
    constraint keysets_pkey primary key (org_id)
);
alter table keysets enable row level security;
alter table keysets force row level security;
create policy own_organization on keysets to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy instance on keysets to agentidp_platform
    using (org_id = '00000000-0000-0000-0000-000000000000')
    with check (org_id = '00000000-0000-0000-0000-000000000000');
grant select, insert on keysets to agentidp_app, agentidp_platform;

-- Signing keys belong to the instance. The app role has no business here.
create table signing_keys (
    id           text        not null,
    use          text        not null,
    algorithm    text        not null,
    state        text        not null,
    public_jwk   json        not null,
    sealed       bytea       not null,
    created_at   timestamptz not null,
    activated_at timestamptz,
    constraint signing_keys_pkey primary key (id),
    constraint signing_keys_use_check check (use in ('access_token', 'id_token')),
    constraint signing_keys_state_check check (state in ('pending', 'active', 'retiring', 'destroyed'))
);
-- One active key per use decides the race between instances that start together.
create unique index signing_keys_active_key on signing_keys (use) where state = 'active';
grant select, insert on signing_keys to agentidp_platform;
