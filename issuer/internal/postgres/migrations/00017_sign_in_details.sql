-- +goose Up

-- What the relying party asked for in detail (RFC 9396), as it was written; '' for nothing. A change of its spelling would change what is asked for.
alter table sign_ins add column authorization_details text not null default '';
