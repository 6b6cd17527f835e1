-- name: InsertInitialAccessToken :exec
insert into initial_access_tokens (org_id, id, name, hash, kinds, scopes, audiences, uses, uses_max, secret_lifetime, created_at, expires_at)
values (@org_id, @id, @name, @hash, @kinds, @scopes, @audiences, 0, @uses_max, @secret_lifetime, @created_at, @expires_at);

-- name: InitialAccessTokens :many
select * from initial_access_tokens where org_id = @org_id order by id;

-- name: InitialAccessToken :one
select * from initial_access_tokens where org_id = @org_id and id = @id;

-- name: UseInitialAccessToken :execrows
-- UseInitialAccessToken waits for a registration with the same token, and finds nothing when that one was the last.
update initial_access_tokens set uses = uses + 1
where org_id = @org_id and id = @id and uses < uses_max and expires_at > @at::timestamptz;

-- name: DeleteInitialAccessToken :execrows
delete from initial_access_tokens where org_id = @org_id and id = @id;

-- name: ForgetInitialAccessTokens :exec
-- ForgetInitialAccessTokens takes away what is of no use any more since a while.
delete from initial_access_tokens where org_id = @org_id and expires_at < @before::timestamptz;

-- name: InsertAgentRegistration :exec
insert into agent_registrations (org_id, agent_id, authentication, secret_lifetime, hash, scopes, created_at)
values (@org_id, @agent_id, @authentication, @secret_lifetime, @hash, @scopes, @created_at);

-- name: AgentRegistration :one
select * from agent_registrations where org_id = @org_id and agent_id = @agent_id;

-- name: UpdateAgentRegistration :execrows
update agent_registrations set authentication = @authentication where org_id = @org_id and agent_id = @agent_id;

-- name: InsertClientRegistration :exec
insert into client_registrations (org_id, client_id, secret_lifetime, hash, scopes, created_at)
values (@org_id, @client_id, @secret_lifetime, @hash, @scopes, @created_at);

-- name: ClientRegistration :one
select * from client_registrations where org_id = @org_id and client_id = @client_id;
