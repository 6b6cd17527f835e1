-- name: OrganizationOfAgent :one
select org_id from agents where id = @id;

-- name: ClientForAuthentication :one
-- ClientForAuthentication gives one row of about the same size after the same index look-ups whether or not there is such an agent: a stranger must not
-- learn from the time it takes. Without an agent, its id is nil and the rest are decoys; the same goes for the hashes of an agent without a working secret.
select
    coalesce(a.org_id, '00000000-0000-0000-0000-000000000000')::uuid as org_id,
    coalesce(a.id, '00000000-0000-0000-0000-000000000000')::uuid as id,
    coalesce(a.name, 'a decoy')::text as name,
    coalesce(a.type, 'decoy')::text as type,
    coalesce(a.description, 'no such agent')::text as description,
    coalesce(a.capabilities, '{decoy}')::text[] as capabilities,
    coalesce(a.scopes, '{decoy:read}')::text[] as scopes,
    coalesce(a.audiences, '{decoy://service}')::text[] as audiences,
    coalesce(a.serves, '{}')::text[] as serves,
    coalesce(a.dpop_bound, false)::boolean as dpop_bound,
    coalesce(a.certificate_bound, false)::boolean as certificate_bound,
    coalesce(a.status, 'active')::text as status,
    a.tokens_not_before,
    coalesce(a.created_at, '2000-01-01 00:00:00Z')::timestamptz as created_at,
    coalesce(a.updated_at, '2000-01-01 00:00:00Z')::timestamptz as updated_at,
    coalesce(a.version, 1)::bigint as version,
    coalesce(c.ids, '{00000000-0000-0000-0000-000000000000}')::uuid[] as credential_ids,
    coalesce(c.kinds, '{client_secret}')::text[] as credential_kinds,
    coalesce(c.hashes, array[decode(repeat('00', 32), 'hex')])::bytea[] as secret_hashes,
    coalesce(c.registrations, '{""}')::text[] as registrations
from (select @id::uuid as id) as asked
left join agents as a on a.id = asked.id
left join lateral (
    select array_agg(credentials.id order by credentials.id) as ids, array_agg(credentials.kind order by credentials.id) as kinds,
        array_agg(coalesce(credentials.secret_hash, '') order by credentials.id) as hashes,
        array_agg(coalesce(credentials.registration::text, '') order by credentials.id) as registrations
    from credentials
    where credentials.org_id = coalesce(a.org_id, '00000000-0000-0000-0000-000000000000') and credentials.agent_id = asked.id
        and (credentials.expires_at is null or credentials.expires_at > @at::timestamptz)
) as c on true;
