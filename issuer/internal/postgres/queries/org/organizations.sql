-- name: Organization :one
select org_id, slug, display_name, created_at, updated_at, version from organizations where org_id = @org_id;
