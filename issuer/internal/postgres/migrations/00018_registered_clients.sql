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
