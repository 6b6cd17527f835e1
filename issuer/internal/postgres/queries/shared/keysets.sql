-- name: Keyset :one
select wrapped, kek_id from keysets where org_id = @org_id;

-- name: InsertKeyset :exec
insert into keysets (org_id, wrapped, kek_id, created_at) values (@org_id, @wrapped, @kek_id, @created_at);

-- name: ReplaceKeyset :execrows
-- ReplaceKeyset finds nothing when another process was faster.
update keysets set wrapped = @wrapped, kek_id = @kek_id where org_id = @org_id and wrapped = @old;
