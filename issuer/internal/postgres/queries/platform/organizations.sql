-- name: InsertOrganization :exec
insert into organizations (org_id, slug, display_name, created_at, updated_at, version)
values (@org_id, @slug, @display_name, @created_at, @updated_at, @version);

-- name: OrganizationForUpdate :one
select org_id, slug, display_name, created_at, updated_at, version from organizations where org_id = @org_id for update;

-- name: Organizations :many
select org_id, slug, display_name, created_at, updated_at, version from organizations where org_id > @after order by org_id limit @row_limit;

-- name: UpdateOrganization :exec
update organizations set display_name = @display_name, updated_at = @updated_at, version = @version where org_id = @org_id;

-- name: DeleteOrganization :exec
delete from organizations where org_id = @org_id;

-- name: OrganizationBySlug :one
select org_id, slug, display_name, created_at, updated_at, version from organizations where slug = @slug;
