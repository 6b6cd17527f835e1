-- name: InsertPushedRequest :exec
insert into pushed_requests (org_id, key, client_id, client_document, issuer, parameters, expires_at)
values (@org_id, @key, @client_id, @client_document, @issuer, @parameters, @expires_at);

-- name: PushedRequest :one
select parameters from pushed_requests
where org_id = @org_id and key = @key and (client_id = @client_id or client_document = @client_document) and issuer = @issuer and expires_at > @at::timestamptz;

-- name: UsePushedRequest :execrows
-- UsePushedRequest waits for a sign-in that uses the same, and deletes nothing when that one is committed.
delete from pushed_requests where org_id = @org_id and key = @key;

-- name: ForgetPushedRequests :exec
-- ForgetPushedRequests takes away a few of the oldest; each request pushed takes more away than it adds.
delete from pushed_requests as old using (
    select pushed_requests.key from pushed_requests
    where pushed_requests.org_id = @org_id and pushed_requests.expires_at < @at::timestamptz
    order by pushed_requests.expires_at limit 16 for update skip locked
) as gone
where old.org_id = @org_id and old.key = gone.key;
