-- name: OrganizationOfClient :one
select org_id from clients where id = @id;

-- name: RelyingPartyForAuthentication :one
-- RelyingPartyForAuthentication is ClientForAuthentication for relying parties, decoys and all.
select
    coalesce(p.org_id, '00000000-0000-0000-0000-000000000000')::uuid as org_id,
    coalesce(p.id, '00000000-0000-0000-0000-000000000000')::uuid as id,
    coalesce(p.name, 'a decoy')::text as name,
    coalesce(p.type, 'web')::text as type,
    coalesce(p.authentication, 'client_secret_basic')::text as authentication,
    coalesce(p.redirect_uris, '{https://decoy.invalid/cb}')::text[] as redirect_uris,
    coalesce(p.scopes, '{decoy:read}')::text[] as scopes,
    coalesce(p.audiences, '{decoy://service}')::text[] as audiences,
    coalesce(p.refresh_tokens, false)::boolean as refresh_tokens,
    coalesce(p.require_pushed, false)::boolean as require_pushed,
    coalesce(p.require_dpop, false)::boolean as require_dpop,
    coalesce(p.require_certificate, false)::boolean as require_certificate,
    coalesce(p.pkce_optional, false)::boolean as pkce_optional,
    coalesce(p.created_at, '2000-01-01 00:00:00Z')::timestamptz as created_at,
    coalesce(p.updated_at, '2000-01-01 00:00:00Z')::timestamptz as updated_at,
    coalesce(p.version, 1)::bigint as version,
    coalesce(c.ids, '{00000000-0000-0000-0000-000000000000}')::uuid[] as credential_ids,
    coalesce(c.kinds, '{client_secret}')::text[] as credential_kinds,
    coalesce(c.hashes, array[decode(repeat('00', 32), 'hex')])::bytea[] as secret_hashes,
    coalesce(c.registrations, '{""}')::text[] as registrations,
    coalesce(c.used, '{2000-01-01 00:00:00Z}')::timestamptz[] as last_used_at
from (select @id::uuid as id) as asked
left join clients as p on p.id = asked.id
left join lateral (
    select array_agg(credentials.id order by credentials.id) as ids, array_agg(credentials.kind order by credentials.id) as kinds,
        array_agg(coalesce(credentials.secret_hash, '') order by credentials.id) as hashes,
        array_agg(coalesce(credentials.registration::text, '') order by credentials.id) as registrations,
        array_agg(coalesce(credentials.last_used_at, '2000-01-01 00:00:00Z') order by credentials.id) as used
    from client_credentials as credentials
    where credentials.org_id = coalesce(p.org_id, '00000000-0000-0000-0000-000000000000') and credentials.client_id = asked.id
        and (credentials.expires_at is null or credentials.expires_at > @at::timestamptz)
) as c on true;
