-- name: OrganizationOfSignIn :one
-- OrganizationOfSignIn finds the sign-ins to one client that is known by its document.
select org_id from sign_ins where id = @id and client_document = @client_document;
