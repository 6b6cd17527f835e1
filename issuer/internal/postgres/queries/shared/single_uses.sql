-- name: UseOnce :execrows
-- UseOnce waits for a transaction that uses the same, and changes nothing when that one is committed.
insert into single_uses (org_id, purpose, key, expires_at) values (@org_id, @purpose, @key, @expires_at) on conflict do nothing;

-- name: ForgetUses :exec
-- ForgetUses takes away a few of the oldest that are of no use any more. Each use that is added takes more away than it adds, so the table does not grow.
delete from single_uses as old using (
    select single_uses.purpose, single_uses.key from single_uses
    where single_uses.org_id = @org_id and single_uses.expires_at < @at::timestamptz
    order by single_uses.expires_at limit 16 for update skip locked
) as gone
where old.org_id = @org_id and old.purpose = gone.purpose and old.key = gone.key;
