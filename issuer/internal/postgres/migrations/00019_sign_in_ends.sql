-- +goose Up
--
-- What others make of a relying party's access token (token exchange) names the sign-in, as the credential_id of the relying party in act, and dies with it: until exchanged_until
-- there may be such a token, and so long the end of the sign-in is on the revocation list.
alter table sign_ins add column exchanged_until timestamptz;

-- id is that of a sign-in: every token that names it is dead.
alter table revoked_tokens add column sign_in boolean not null default false;
alter table revoked_tokens alter column sign_in drop default;

-- A client that is deleted ends all of its sign-ins in one statement, which takes one number.
drop trigger revoked_tokens_revocation_inserted on revoked_tokens;
-- +goose StatementBegin
create function revoked_tokens_count_revocation() returns trigger language plpgsql as $$
begin
    if exists (select from added) then
        update agentidp.revocation_sequence
        set value = greatest(value + 1, floor(extract(epoch from clock_timestamp()) * 1000)::bigint);
    end if;
    return null;
end
$$;
-- +goose StatementEnd
create trigger revoked_tokens_revocation_inserted after insert on revoked_tokens referencing new table as added
    for each statement execute function revoked_tokens_count_revocation();
