// Package postgres is the only place with SQL. It implements every store interface of the issuer on PostgreSQL.
//
// Isolation has two fences, each tested with the other one down. Every query names its organization, and row-level security (forced, so that it
// holds for the owner too) lets the role agentidp_app see only the organization its transaction named. What has to look across organizations runs
// as agentidp_platform, which may do little: see migrations. Queries of one role live in gen/orgdb, of the other in gen/platformdb, and the pools
// are unexported, so a query cannot meet the wrong role.
//
// Every change goes through Store.changeInOrg or Store.changeAcross, which refuse an unknown actor and write the audit row in the same transaction: there
// is no other way to commit one. Errors of the driver become *problem.Error in one place, errors.go.
package postgres
