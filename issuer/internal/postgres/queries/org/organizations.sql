-- name: Organization :one
select org_id, slug, display_name, created_at, updated_at, version from organizations where org_id = @org_id;

-- name: KeepOrganization :execrows
-- KeepOrganization waits for a deletion under way, and finds nothing when that one is committed; until the end of the transaction another one waits.
select org_id from organizations where org_id = @org_id for key share;

-- name: LockOrganization :execrows
-- LockOrganization is KeepOrganization, one transaction at a time. It does not stop those that only keep.
select org_id from organizations where org_id = @org_id for no key update;
