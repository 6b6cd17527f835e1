-- name: OrganizationLimits :one
select o.org_id, l.per_minute, l.burst, l.client_per_minute, l.client_burst,
    coalesce(l.updated_at, o.created_at)::timestamptz as updated_at, coalesce(l.version, 1)::bigint as version
from organizations as o
left join organization_limits as l on l.org_id = o.org_id
where o.org_id = @org_id;

-- name: PutOrganizationLimits :exec
insert into organization_limits (org_id, per_minute, burst, client_per_minute, client_burst, updated_at, version)
values (@org_id, sqlc.narg(per_minute), sqlc.narg(burst), sqlc.narg(client_per_minute), sqlc.narg(client_burst), @updated_at, @version)
on conflict (org_id) do update set
    per_minute = excluded.per_minute, burst = excluded.burst, client_per_minute = excluded.client_per_minute, client_burst = excluded.client_burst,
    updated_at = excluded.updated_at, version = excluded.version;
