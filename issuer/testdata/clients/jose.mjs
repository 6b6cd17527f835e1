import assert from 'node:assert/strict'
import test from 'node:test'
import { calculateJwkThumbprint, createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { ask, setting } from './setting.mjs'

const { id, secret } = setting.agents.secret
const metadata = await (await fetch(`${setting.issuer}/.well-known/openid-configuration`)).json()

const token = async (endpoint = metadata.token_endpoint) => {
  const response = await fetch(endpoint, { method: 'POST', body: new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret: secret, resource: 'svc://ledger' }) })
  assert.equal(response.status, 200)
  return (await response.json()).access_token
}
const verify = (accessToken, keys) => jwtVerify(accessToken, keys, { issuer: setting.issuer, audience: 'svc://ledger', typ: 'at+jwt', requiredClaims: ['jti', 'client_id', 'exp'] })

test('kids are thumbprints, and no key is private', async () => {
  const { keys } = await (await fetch(metadata.jwks_uri)).json()
  assert.ok(keys.length >= 2)
  for (const key of keys) {
    assert.equal(key.kid, await calculateJwkThumbprint(key))
    assert.equal(key.use, 'sig')
    for (const member of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth']) assert.equal(key[member], undefined)
  }
})

test('a planned rotation: a verifier that has cached the keys verifies tokens of before and after without asking again', async () => {
  const keys = createRemoteJWKSet(new URL(metadata.jwks_uri), { cooldownDuration: 3_600_000, cacheMaxAge: 3_600_000 })
  const before = await token()
  await verify(before, keys)
  await ask('rotate')
  const after = await token()
  assert.notEqual(decodeProtectedHeader(after).kid, decodeProtectedHeader(before).kid)
  await verify(after, keys) // the cool-down forbids to fetch
  await verify(before, keys)
  await verify(before, createRemoteJWKSet(new URL(metadata.jwks_uri)))
})

test('an emergency: what the key signed is no good for who fetches the keys, what follows is', async () => {
  const keys = createRemoteJWKSet(new URL(metadata.jwks_uri), { cooldownDuration: 0 })
  const before = await token()
  await verify(before, keys)
  await ask('revoke')
  const after = await token()
  await verify(after, keys)
  await assert.rejects(verify(before, createRemoteJWKSet(new URL(metadata.jwks_uri))), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
})

test('another algorithm: the same verifier goes on', async () => {
  const keys = createRemoteJWKSet(new URL(metadata.jwks_uri), { cooldownDuration: 0 })
  await verify(await token(), keys)
  await ask('eddsa')
  const after = await token()
  assert.match(decodeProtectedHeader(after).alg, /^(EdDSA|Ed25519)$/)
  await verify(after, keys)
})

test('the keys of an organization are not those of the instance', async () => {
  const theirs = await (await fetch(`${setting.organizationIssuer}/.well-known/openid-configuration`)).json()
  const got = await token(theirs.token_endpoint)
  const check = { issuer: setting.organizationIssuer, audience: 'svc://ledger' }
  await jwtVerify(got, createRemoteJWKSet(new URL(theirs.jwks_uri)), check)
  await assert.rejects(jwtVerify(got, createRemoteJWKSet(new URL(metadata.jwks_uri)), check), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
})
