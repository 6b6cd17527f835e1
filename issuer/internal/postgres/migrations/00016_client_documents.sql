-- +goose Up
--
-- Relying parties that nobody registered: known by the document behind their client_id, and of no organization. A sign-in to one belongs to the organization of the
-- agent. What such a client pushes, and what it may use once, is there before any agent is: rows of the instance, whose org_id is the nil UUID, and which the
-- platform role has to itself.

alter table sign_ins alter column client_id drop not null;
alter table sign_ins add column client_document text; -- the client_id, when it is a URL
alter table sign_ins add constraint sign_ins_client_check check (num_nonnulls(client_id, client_document) = 1 and client_document like 'https://%');
-- A code or refresh token says which sign-in it is of. Of a client without an organization, that says where the sign-in is; only for its own sign-ins.
create unique index sign_ins_document_key on sign_ins (id) where client_document is not null;
create policy to_documents on sign_ins for select to agentidp_platform using (client_document is not null);
grant select (org_id, id, client_document) on sign_ins to agentidp_platform;

alter table pushed_requests alter column client_id drop not null;
alter table pushed_requests add column client_document text;
alter table pushed_requests add constraint pushed_requests_client_check check (num_nonnulls(client_id, client_document) = 1
    and client_document like 'https://%' and (client_document is null or org_id = '00000000-0000-0000-0000-000000000000'));
create policy instance on pushed_requests to agentidp_platform
    using (org_id = '00000000-0000-0000-0000-000000000000')
    with check (org_id = '00000000-0000-0000-0000-000000000000');
create policy instance on single_uses to agentidp_platform
    using (org_id = '00000000-0000-0000-0000-000000000000')
    with check (org_id = '00000000-0000-0000-0000-000000000000');
-- The right to update is the right to lock, as for the app role.
grant select, insert, update, delete on pushed_requests, single_uses to agentidp_platform;
