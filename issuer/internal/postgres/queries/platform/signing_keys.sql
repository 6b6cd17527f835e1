-- name: SigningRevision :one
select revision from signing_schedule;

-- name: ChangedSigningIssuers :many
select org_id, revision from signing_issuers where revision > @since order by revision;

-- name: DueSigningIssuers :many
-- DueSigningIssuers leaves out what a deleted organization may have left behind.
select s.org_id from signing_issuers as s
where (s.org_id > @after or @first::boolean) and s.due_at <= @at::timestamptz
    and (s.org_id = '00000000-0000-0000-0000-000000000000' or exists (select from organizations as o where o.org_id = s.org_id))
order by s.org_id limit @row_limit;

-- name: LeadSigningSchedule :execrows
-- LeadSigningSchedule takes the lead, or keeps it; nothing when another process has it.
update signing_schedule set leader = @leader, leader_until = @until
where leader = @leader or leader_until <= @at::timestamptz;

-- name: DeleteSigningIssuer :exec
delete from signing_issuers where org_id = @org_id;
