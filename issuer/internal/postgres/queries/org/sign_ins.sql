-- name: InsertSignIn :exec
insert into sign_ins (org_id, id, client_id, client_document, agent_id, credential_id, issuer, scopes, audience, authenticated_at, authentication_context, authentication_methods,
    authorization_details, nonce, redirect_uri, code_challenge, code_hash, code_key, code_expires_at, created_at, expires_at)
values (@org_id, @id, @client_id, @client_document, @agent_id, @credential_id, @issuer, @scopes, @audience, @authenticated_at, @authentication_context, @authentication_methods,
    @authorization_details, @nonce, @redirect_uri, @code_challenge, @code_hash, @code_key, @code_expires_at, @created_at, @expires_at);

-- name: SignIn :one
select * from sign_ins where org_id = @org_id and id = @id;

-- name: SignInGood :one
-- SignInGood is what LockLiveAgent and RecordTokenIssued ask when a token is recorded.
select exists (
    select from agents
    join credentials on credentials.org_id = agents.org_id and credentials.agent_id = agents.id
    where agents.org_id = @org_id and agents.id = @agent_id and agents.status = 'active'
        and credentials.org_id = @org_id and credentials.id = @credential_id and (credentials.expires_at is null or credentials.expires_at > @at::timestamptz)
        and (agents.tokens_not_before is null or agents.tokens_not_before <= @authenticated_at::timestamptz)
        and not exists (select from token_watermarks where token_watermarks.org_id = @org_id and token_watermarks.tokens_not_before > @authenticated_at::timestamptz)
);

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

-- name: ExtendSignIn :execrows
-- ExtendSignIn finds nothing when the sign-in is known to live on in other tokens for as long, or has ended.
update sign_ins set exchanged_until = @until::timestamptz
where org_id = @org_id and id = @id and revoked_at is null and expires_at > @at::timestamptz
    and (exchanged_until is null or exchanged_until < @until::timestamptz);

-- name: LockLiveSignIn :execrows
select id from sign_ins where org_id = @org_id and id = @id and revoked_at is null and expires_at > @at::timestamptz for share;

-- name: LockAgentsOfClient :many
-- LockAgentsOfClient locks who is signed in, in the order of ids.
select agents.id from agents
where agents.org_id = @org_id and agents.id in (
    select sign_ins.agent_id from sign_ins
    where sign_ins.org_id = @org_id and sign_ins.client_id = @client_id::uuid and sign_ins.revoked_at is null and sign_ins.expires_at > @at::timestamptz
)
order by agents.id for update of agents;

-- name: SignInsOfClientForUpdate :many
select * from sign_ins
where org_id = @org_id and client_id = @client_id::uuid and revoked_at is null and expires_at > @at::timestamptz
order by id for update;

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
