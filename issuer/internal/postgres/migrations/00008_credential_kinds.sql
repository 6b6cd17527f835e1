-- +goose Up
--
-- Credentials that are no secrets: what is kept of them is public, and says what a proof is checked against (agents.Registration). A row has either a hash or
-- a registration, by its kind.

alter table credentials
    alter column secret_hash drop not null,
    add column registration json,
    drop constraint credentials_kind_check,
    drop constraint credentials_hash_check,
    add constraint credentials_kind_check check (kind in
        ('client_secret', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth', 'spiffe_jwt', 'spiffe_x509')),
    add constraint credentials_hash_check check (case when kind = 'client_secret'
        then secret_hash is not null and length(secret_hash) = 32 and registration is null
        else secret_hash is null and registration is not null and length(registration::text) <= 65536 end);
grant select (kind, registration) on credentials to agentidp_platform;
