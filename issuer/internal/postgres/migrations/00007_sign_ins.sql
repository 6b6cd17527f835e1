-- +goose Up

-- Relying parties: what agents of the organization sign in to.
create table clients (
    org_id         uuid        not null,
    id             uuid        not null,
    name           text        not null,
    type           text        not null,
    authentication text        not null,
    secret_hash    bytea,
    redirect_uris  text[]      not null,
    scopes         text[]      not null,
    audiences      text[]      not null,
    refresh_tokens boolean     not null,
    require_pushed boolean     not null,
    require_dpop   boolean     not null,
    pkce_optional  boolean     not null,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    version        bigint      not null,
    constraint clients_pkey primary key (org_id, id),
    constraint clients_name_key unique (org_id, name),
    constraint clients_organization_fkey foreign key (org_id) references organizations (org_id),
    constraint clients_type_check check (type in ('web', 'native')),
    constraint clients_secret_check check ((authentication = 'none') = (secret_hash is null)),
    constraint clients_secret_length_check check (length(secret_hash) = 32)
);
-- Its id is a client_id: it comes without its organization.
create unique index clients_id_key on clients (id);
alter table clients enable row level security;
alter table clients force row level security;
create policy own_organization on clients to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on clients for select to agentidp_platform using (true);
grant select, insert, update, delete on clients to agentidp_app;
grant select (org_id, id) on clients to agentidp_platform;

-- Pushed authorization requests (RFC 9126): the parameters as they were pushed, for a minute. They are taken away by the sign-in that used them, and by later ones.
create table pushed_requests (
    org_id     uuid        not null,
    key        bytea       not null,
    client_id  uuid        not null,
    issuer     text        not null,
    parameters text        not null,
    expires_at timestamptz not null,
    constraint pushed_requests_pkey primary key (org_id, key),
    constraint pushed_requests_client_fkey foreign key (org_id, client_id) references clients (org_id, id) on delete cascade,
    constraint pushed_requests_key_check check (length(key) = 32)
);
create index pushed_requests_client_idx on pushed_requests (org_id, client_id);
create index pushed_requests_expires_at_idx on pushed_requests (org_id, expires_at);
alter table pushed_requests enable row level security;
alter table pushed_requests force row level security;
create policy own_organization on pushed_requests to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
-- The right to update is the right to lock: rows are deleted by whoever gets them first.
grant select, insert, update, delete on pushed_requests to agentidp_app;

-- A sign-in is one agent at one relying party: first its code, then the family of its refresh tokens. Both are keyed hashes. The row stays until nothing that
-- was issued from it is good any more, so that a code or a refresh token that comes back is known for what it is.
-- No foreign key to the credential: a sign-in whose credential is gone is refused when it is used.
create table sign_ins (
    org_id                 uuid        not null,
    id                     uuid        not null,
    client_id              uuid        not null,
    agent_id               uuid        not null,
    credential_id          uuid        not null,
    issuer                 text        not null,
    scopes                 text[]      not null,
    audience               text[]      not null,
    authenticated_at       timestamptz not null,
    authentication_context text        not null,
    authentication_methods text[]      not null,
    nonce                  text        not null,
    redirect_uri           text        not null,
    code_challenge         text        not null, -- '' when the client need not use PKCE and did not
    code_hash              bytea       not null,
    code_key               text        not null, -- RFC 9449 s10, the thumbprint the code is bound to; '' for none
    code_expires_at        timestamptz not null,
    redeemed_at            timestamptz,
    refresh_hash           bytea,
    refresh_expires_at     timestamptz,
    key_thumbprint         text        not null default '', -- what the refresh tokens are bound to
    certificate_sha256     text        not null default '',
    token_ids              text[]      not null default '{}', -- access tokens that may be alive, oldest first
    token_expiries         timestamptz[] not null default '{}',
    created_at             timestamptz not null,
    expires_at             timestamptz not null,
    revoked_at             timestamptz,
    constraint sign_ins_pkey primary key (org_id, id),
    constraint sign_ins_client_fkey foreign key (org_id, client_id) references clients (org_id, id) on delete cascade,
    constraint sign_ins_agent_fkey foreign key (org_id, agent_id) references agents (org_id, id) on delete cascade,
    constraint sign_ins_hashes_check check (length(code_hash) = 32 and (refresh_hash is null or length(refresh_hash) = 32)),
    constraint sign_ins_tokens_check check (cardinality(token_ids) = cardinality(token_expiries))
);
create index sign_ins_client_idx on sign_ins (org_id, client_id);
create index sign_ins_agent_idx on sign_ins (org_id, agent_id);
create index sign_ins_expires_at_idx on sign_ins (org_id, expires_at);
alter table sign_ins enable row level security;
alter table sign_ins force row level security;
create policy own_organization on sign_ins to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
grant select, insert, update, delete on sign_ins to agentidp_app;
