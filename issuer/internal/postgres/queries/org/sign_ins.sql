-- name: InsertSignIn :exec
insert into sign_ins (org_id, id, client_id, client_document, agent_id, credential_id, issuer, scopes, audience, authenticated_at, authentication_context, authentication_methods,
    authorization_details, nonce, redirect_uri, code_challenge, code_hash, code_key, code_expires_at, created_at, expires_at)
values (@org_id, @id, @client_id, @client_document, @agent_id, @credential_id, @issuer, @scopes, @audience, @authenticated_at, @authentication_context, @authentication_methods,
    @authorization_details, @nonce, @redirect_uri, @code_challenge, @code_hash, @code_key, @code_expires_at, @created_at, @expires_at);

-- name: SignIn :one
select * from sign_ins where org_id = @org_id and id = @id;

-- name: SignedIn :one
-- SignedIn reports whether an agent signed in to a client by an authentication that is no older. Rows outlive a code, and so every authentication that is fresh.
select exists (
    select 1 from sign_ins
    where org_id = @org_id and agent_id = @agent_id and authenticated_at >= @at::timestamptz
        and client_id is not distinct from sqlc.narg(client_id)::uuid and client_document is not distinct from sqlc.narg(client_document)::text
);

-- name: SignInForUpdate :one
select * from sign_ins where org_id = @org_id and id = @id for update;

-- name: AdvanceSignIn :execrows
-- AdvanceSignIn is the one step from a code, or a refresh token, to the next: it changes nothing when another one was faster, or the sign-in was revoked.
update sign_ins
set redeemed_at = coalesce(redeemed_at, @at::timestamptz), refresh_hash = @refresh_hash, refresh_expires_at = @refresh_expires_at, expires_at = @expires_at,
    key_thumbprint = @key_thumbprint, certificate_sha256 = @certificate_sha256,
    token_ids = @token_ids, token_expiries = @token_expiries
where org_id = @org_id and id = @id and revoked_at is null and expires_at > @at::timestamptz
    and refresh_hash is not distinct from sqlc.narg(was)::bytea and (redeemed_at is null) = (sqlc.narg(was)::bytea is null);

-- name: RevokeSignIn :exec
update sign_ins set revoked_at = @at::timestamptz where org_id = @org_id and id = @id;

-- name: ForgetSignIns :exec
-- ForgetSignIns takes away a few of the oldest; each sign-in takes more away than it adds.
delete from sign_ins as old using (
    select sign_ins.id from sign_ins
    where sign_ins.org_id = @org_id and sign_ins.expires_at < @at::timestamptz
    order by sign_ins.expires_at limit 16 for update skip locked
) as gone
where old.org_id = @org_id and old.id = gone.id;
