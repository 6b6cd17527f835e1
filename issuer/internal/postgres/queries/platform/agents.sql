-- name: OrganizationOfAgent :one
select org_id from agents where id = @id;

-- name: ClientForAuthentication :many
-- ClientForAuthentication gives one row per unexpired secret, and one without a secret when there is none.
select sqlc.embed(agents), credentials.id as credential_id, credentials.secret_hash
from agents
left join credentials on credentials.org_id = agents.org_id and credentials.agent_id = agents.id
    and (credentials.expires_at is null or credentials.expires_at > @at::timestamptz)
where agents.id = @id
order by credentials.id;
