-- +goose Up
--
-- Who adds to an organization what goes with it locks the organization first, as its deletion does: so that they wait for each other and never both. The right to
-- update is the right to lock; the check keeps it at that, for every column.
create policy own_organization_lock on organizations for update to agentidp_app
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid)
    with check (false);
grant update (version) on organizations to agentidp_app;
