-- +goose Up
--
-- What may be used once: DPoP proofs, assertions. The primary key decides, whichever processes are asked at the same time. A row is written in the
-- transaction of the token that used it up, and kept until what it stands for is refused for its age; then later transactions take it away.

create table single_uses (
    org_id     uuid        not null,
    purpose    text        not null,
    key        bytea       not null,
    expires_at timestamptz not null,
    constraint single_uses_pkey primary key (org_id, purpose, key),
    constraint single_uses_key_check check (length(key) = 32)
);
create index single_uses_expires_at_idx on single_uses (org_id, expires_at);
alter table single_uses enable row level security;
alter table single_uses force row level security;
create policy own_organization on single_uses to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
-- The right to update is the right to lock: rows are deleted by whoever gets them first.
grant select, insert, update, delete on single_uses to agentidp_app;
