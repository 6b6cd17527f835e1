-- name: InsertAuditRecord :exec
insert into audit_logs (org_id, event, ts, actor, action, target, enc_version, body)
values (@org_id, @event, @ts, @actor, @action, @target, @enc_version, @body);

-- name: AuditRecords :many
select a.enc_version, a.body
from audit_logs as a
where a.org_id = @org_id
    and (sqlc.narg(action)::text is null or a.action = sqlc.narg(action))
    and (sqlc.narg(target)::text is null or a.target = sqlc.narg(target))
    and (sqlc.narg(since)::timestamptz is null or a.ts >= sqlc.narg(since))
    and (sqlc.narg(until)::timestamptz is null or a.ts < sqlc.narg(until))
    and (sqlc.narg(before)::uuid is null
        or a.id < (select c.id from audit_logs as c where c.org_id = @org_id and c.event = sqlc.narg(before)))
order by a.id desc
limit @row_limit;
