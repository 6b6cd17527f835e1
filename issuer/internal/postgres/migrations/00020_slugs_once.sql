-- +goose Up
--
-- Every slug that an organization was given, for ever: it is in the iss of its tokens, so whoever got it again would be believed where the keys or the revocation
-- list of the first are still remembered. A trigger writes it, so that neither a new code path nor an operator with psql can forget, and the primary key decides.
-- Nothing here belongs to an organization that exists, so the table is the platform's: no organization learns which slugs others had, and no role takes one back.
create table organization_slugs (
    slug     text        not null,
    given_to uuid        not null, -- an organization; no foreign key, it may be deleted
    given_at timestamptz not null default now(),
    constraint organization_slugs_pkey primary key (slug)
);

-- The owner sees every organization, and the log of those that were deleted, for the length of this transaction.
alter table organizations no force row level security;
alter table audit_logs no force row level security;
insert into organization_slugs (slug, given_to, given_at) select slug, org_id, created_at from organizations;
insert into organization_slugs (slug, given_to, given_at)
select distinct on (slug) slug, org_id, ts
from (select org_id, ts, convert_from(body, 'UTF8')::json -> 'details' ->> 'slug' as slug from audit_logs where action = 'organization.delete') as deleted
where slug is not null
order by slug, ts
on conflict do nothing;
alter table audit_logs force row level security;
alter table organizations force row level security;

alter table organization_slugs enable row level security;
alter table organization_slugs force row level security;
create policy across_organizations on organization_slugs for insert to agentidp_platform with check (true);
grant insert (slug, given_to) on organization_slugs to agentidp_platform;

-- +goose StatementBegin
create function organizations_take_slug() returns trigger language plpgsql as $$
begin
    insert into agentidp.organization_slugs (slug, given_to) values (new.slug, new.org_id);
    return new;
end
$$;
-- +goose StatementEnd
create trigger organizations_slug_given before insert on organizations for each row execute function organizations_take_slug();
create trigger organizations_slug_changed before update on organizations for each row
    when (old.slug is distinct from new.slug) execute function organizations_take_slug();
