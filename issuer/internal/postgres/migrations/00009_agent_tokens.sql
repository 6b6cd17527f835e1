-- +goose Up
--
-- serves: the audiences an agent is itself, whose tokens it may exchange. The other two: whether its tokens must be bound to a key or a certificate.

alter table agents
    add column serves            text[]  not null default '{}',
    add column dpop_bound        boolean not null default false,
    add column certificate_bound boolean not null default false;
