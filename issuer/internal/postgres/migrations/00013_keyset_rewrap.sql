-- +goose Up

-- A data key can be wrapped again, with another key-encryption key; whose it is never changes.
grant update (wrapped, kek_id) on keysets to agentidp_app, agentidp_platform;
