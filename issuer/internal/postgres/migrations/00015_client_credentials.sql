-- +goose Up
--
-- Credentials of relying parties, as agents have them: several at once, each with its end and its last use. The secrets there are move here; which kind a client's
-- credentials are of is said by its authentication, and checked by whoever writes them while the client is locked.

create table client_credentials (
    org_id       uuid        not null,
    client_id    uuid        not null,
    id           uuid        not null,
    kind         text        not null,
    secret_hash  bytea,
    registration json,
    created_at   timestamptz not null,
    expires_at   timestamptz,
    lifetime     interval,             -- what it was made for; a successor gets the same
    last_used_at timestamptz,          -- to the minute
    constraint client_credentials_pkey primary key (org_id, client_id, id),
    constraint client_credentials_client_fkey foreign key (org_id, client_id) references clients (org_id, id) on delete cascade,
    constraint client_credentials_kind_check check (kind in
        ('client_secret', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth', 'spiffe_jwt', 'spiffe_x509')),
    constraint client_credentials_hash_check check (case when kind = 'client_secret'
        then secret_hash is not null and length(secret_hash) = 32 and registration is null
        else secret_hash is null and registration is not null and length(registration::text) <= 65536 end)
);

-- The owner sees the clients of every organization for the length of this transaction. A new id is a UUIDv7, as ids of credentials are.
alter table clients no force row level security;
insert into client_credentials (org_id, client_id, id, kind, secret_hash, created_at)
select org_id, id,
    encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid,
    'client_secret', secret_hash, updated_at
from clients where secret_hash is not null;
alter table clients force row level security;

alter table client_credentials enable row level security;
alter table client_credentials force row level security;
create policy own_organization on client_credentials to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on client_credentials for select to agentidp_platform using (true);
grant select, insert, update, delete on client_credentials to agentidp_app;
grant select (org_id, client_id, id, kind, secret_hash, registration, expires_at, last_used_at) on client_credentials to agentidp_platform;

alter table clients drop column secret_hash;
alter table clients add column require_certificate boolean not null default false;
alter table clients alter column require_certificate drop default;
grant select on clients to agentidp_platform;
