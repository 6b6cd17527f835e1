-- +goose Up
--
-- Tokens that were revoked one by one, for as long as they would have lived, and the moments before which every token of an organization is dead. Like
-- any other revocation they take the next number of the counter in their own transaction (00002_revocation.sql), by triggers.

-- agent_id is the agent whose watermark kills the token as well: when there are too many of one agent, one watermark takes their place.
-- No foreign key: the agent may be deleted before the token expires.
create table revoked_tokens (
    org_id     uuid        not null,
    agent_id   uuid        not null,
    id         text        not null, -- jti
    expires_at timestamptz not null,
    revoked_at timestamptz not null,
    constraint revoked_tokens_pkey primary key (org_id, agent_id, id),
    constraint revoked_tokens_id_check check (length(id) between 1 and 256)
);
create index revoked_tokens_expires_at_idx on revoked_tokens (expires_at);
alter table revoked_tokens enable row level security;
alter table revoked_tokens force row level security;
create policy own_organization on revoked_tokens to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on revoked_tokens for select to agentidp_platform using (true);
grant select, insert, delete on revoked_tokens to agentidp_app;
grant select on revoked_tokens to agentidp_platform;

create table token_watermarks (
    org_id            uuid        not null,
    tokens_not_before timestamptz not null,
    constraint token_watermarks_pkey primary key (org_id),
    constraint token_watermarks_organization_fkey foreign key (org_id) references organizations (org_id) on delete cascade
);
create index token_watermarks_tokens_not_before_idx on token_watermarks (tokens_not_before);
alter table token_watermarks enable row level security;
alter table token_watermarks force row level security;
create policy own_organization on token_watermarks to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
create policy across_organizations on token_watermarks for select to agentidp_platform using (true);
grant select, insert, update (tokens_not_before) on token_watermarks to agentidp_app;
grant select on token_watermarks to agentidp_platform;

-- +goose StatementBegin
create function count_revocation() returns trigger language plpgsql as $$
begin
    update agentidp.revocation_sequence
    set value = greatest(value + 1, floor(extract(epoch from clock_timestamp()) * 1000)::bigint);
    return null;
end
$$;
-- +goose StatementEnd

create trigger revoked_tokens_revocation_inserted after insert on revoked_tokens for each row execute function count_revocation();
create trigger token_watermarks_revocation_changed after insert or update on token_watermarks for each row execute function count_revocation();
