-- name: OrganizationOfClient :one
select org_id from clients where id = @id;
