-- +goose Up
--
-- What a client registered that its record does not say: the method (token_endpoint_auth_method) beside the kind of its credential. The credential it is about is
-- the newest of that kind, so that one that was rotated is still the client's. Empty: the credential was gone before this was kept.

alter table agent_registrations add column authentication text not null default '';

-- The owner sees every organization for the length of this transaction.
alter table agent_registrations no force row level security;
alter table credentials no force row level security;
update agent_registrations r set authentication = case c.kind when 'client_secret' then 'client_secret_basic' else c.kind end
from credentials c where c.org_id = r.org_id and c.agent_id = r.agent_id and c.id = r.credential_id;
alter table credentials force row level security;
alter table agent_registrations force row level security;

alter table agent_registrations alter column authentication drop default;
alter table agent_registrations drop column credential_id;

-- How long secrets live that are made for a registration, in seconds; 0: they do not expire.
alter table initial_access_tokens add column secret_lifetime bigint not null default 0;
alter table initial_access_tokens alter column secret_lifetime drop default;
alter table agent_registrations add column secret_lifetime bigint not null default 0;
alter table agent_registrations alter column secret_lifetime drop default;

grant update (authentication) on agent_registrations to agentidp_app;

-- Relying parties register themselves, too, with a token that says so. Their method is in their own record.
alter table initial_access_tokens add column kinds text[] not null default '{agent}';
alter table initial_access_tokens alter column kinds drop default;
alter table initial_access_tokens add constraint initial_access_tokens_kinds_check check (kinds <> '{}' and kinds <@ array['agent', 'relying_party']);

create table client_registrations (
    org_id          uuid        not null,
    client_id       uuid        not null,
    hash            bytea       not null,
    scopes          text[]      not null, -- of the initial access token
    secret_lifetime bigint      not null,
    created_at      timestamptz not null,
    constraint client_registrations_pkey primary key (org_id, client_id),
    constraint client_registrations_client_fkey foreign key (org_id, client_id) references clients (org_id, id) on delete cascade,
    constraint client_registrations_hash_check check (length(hash) = 32)
);
alter table client_registrations enable row level security;
alter table client_registrations force row level security;
create policy own_organization on client_registrations to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
-- The foreign key's cascade deletes as the table's owner.
grant select, insert on client_registrations to agentidp_app;
