import assert from 'node:assert/strict'
import test from 'node:test'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import { privateKey, setting, withCertificate } from './setting.mjs'

const issuer = new URL(setting.issuer)
const discover = async (identifier, algorithm) => oauth.processDiscoveryResponse(identifier, await oauth.discoveryRequest(identifier, { algorithm }))
const metadata = await discover(issuer, 'oidc')

const token = async (as, client, auth, parameters = {}, options = {}) =>
  oauth.processClientCredentialsResponse(as, client, await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, options))

// valid is what RFC 9068 s4 has a resource check, by a resource that is not ours: with DPoP, the proof as well (RFC 9449 s4.3).
const valid = async (as, accessToken, audience, DPoP) => {
  let received
  const resource = async (url, options) => {
    received = new Request(url, options)
    return new Response()
  }
  await oauth.protectedResourceRequest(accessToken, 'GET', new URL('https://resource.example/invoices/1'), undefined, null, { DPoP, [oauth.customFetch]: resource })
  return oauth.validateJwtAccessToken(as, received, audience)
}

// verified is for tokens whose confirmation valid does not know.
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri))
const verified = async (accessToken, audience) => (await jwtVerify(accessToken, keys, { issuer: setting.issuer, audience, typ: 'at+jwt' })).payload

for (const [name, algorithm] of [['OpenID Connect', 'oidc'], ['RFC 8414', 'oauth2']]) {
  test(`discovery by ${name}, of the instance and of an organization`, async () => {
    for (const identifier of [setting.issuer, setting.organizationIssuer]) {
      const as = await discover(new URL(identifier), algorithm)
      assert.equal(as.issuer, identifier)
      for (const endpoint of ['token_endpoint', 'jwks_uri']) assert.ok(as[endpoint].startsWith(`${identifier}/`), as[endpoint])
    }
  })
}

const { id, secret } = setting.agents.secret
const secretClient = { client_id: id }
const methods = [
  ['client_secret_basic', secretClient, oauth.ClientSecretBasic(secret)],
  ['client_secret_post', secretClient, oauth.ClientSecretPost(secret)],
]
for (const [alg, agent] of Object.entries(setting.agents.keys)) {
  methods.push([`private_key_jwt ${alg}`, { client_id: agent.id }, oauth.PrivateKeyJwt(await privateKey(agent.jwk))])
}
for (const [method, agent] of Object.entries(setting.agents.certificates)) {
  methods.push([method, { client_id: agent.id }, oauth.TlsClientAuth(), { [oauth.customFetch]: withCertificate(agent) }])
}

for (const [name, client, auth, options] of methods) {
  test(`client credentials by ${name}`, async () => {
    const got = await token(metadata, client, auth, { scope: 'invoices:read', resource: 'svc://ledger' }, options)
    assert.equal(got.token_type, 'bearer')
    assert.equal(got.scope, 'invoices:read')
    const check = name === 'tls_client_auth' ? verified : (...args) => valid(metadata, ...args)
    const claims = await check(got.access_token, 'svc://ledger')
    assert.equal(claims.sub, client.client_id)
    assert.equal(claims.client_id, client.client_id)
    await assert.rejects(check(got.access_token, 'svc://payments'), /"aud"/)
  })
}

test('a wrong secret, an unknown scope and an unknown resource are refused as the RFCs say', async () => {
  for (const [auth, parameters, status, error] of [
    [oauth.ClientSecretBasic('wrong'), {}, 401, 'invalid_client'],
    [oauth.ClientSecretPost(secret), { scope: 'none:such' }, 400, 'invalid_scope'],
    [oauth.ClientSecretPost(secret), { resource: 'svc://none' }, 400, 'invalid_target'],
  ]) {
    await assert.rejects(token(metadata, secretClient, auth, parameters), (e) => {
      if (e instanceof oauth.WWWAuthenticateChallengeError) return e.status === status && e.cause.some((c) => c.scheme === 'basic')
      return e instanceof oauth.ResponseBodyError && e.status === status && e.error === error
    })
  }
})

for (const method of Object.keys(setting.agents.certificates)) {
  test(`a token bound to the certificate of ${method}`, async () => {
    const agent = setting.agents.certificates[method]
    const got = await token(metadata, { client_id: agent.id }, oauth.TlsClientAuth(), { resource: 'svc://ledger' }, { [oauth.customFetch]: withCertificate(agent) })
    const claims = await verified(got.access_token, 'svc://ledger')
    if (agent.bound) assert.equal(claims.cnf['x5t#S256'], agent.thumbprint)
    else assert.equal(claims.cnf, undefined)
  })
}

for (const alg of ['ES256', 'Ed25519', 'PS256']) {
  test(`a token bound to a key by DPoP, ${alg}, with the issuer's nonce`, async () => {
    const keyPair = await oauth.generateKeyPair(alg)
    const DPoP = oauth.DPoP(secretClient, keyPair)
    const request = () => token(metadata, secretClient, oauth.ClientSecretBasic(secret), { resource: 'svc://ledger' }, { DPoP })
    await assert.rejects(request(), oauth.isDPoPNonceError) // the first: no nonce is known yet
    const got = await request()
    assert.equal(got.token_type, 'dpop')
    const { cnf } = await valid(metadata, got.access_token, 'svc://ledger', DPoP)
    assert.equal(cnf.jkt, await DPoP.calculateThumbprint())
    await assert.rejects(valid(metadata, got.access_token, 'svc://ledger', oauth.DPoP(secretClient, await oauth.generateKeyPair(alg)))) // another's key
    await assert.rejects(valid(metadata, got.access_token, 'svc://ledger')) // no proof
  })
}

test('token exchange: a service acts for the agent that called it', async () => {
  const service = setting.agents.service
  const subject = await token(metadata, secretClient, oauth.ClientSecretBasic(secret), { resource: service.serves })
  const as = { client_id: service.id }
  const response = await oauth.genericTokenEndpointRequest(metadata, as, oauth.ClientSecretBasic(service.secret), 'urn:ietf:params:oauth:grant-type:token-exchange', {
    subject_token: subject.access_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', audience: 'svc://ledger', scope: 'invoices:read',
  })
  const got = await oauth.processGenericTokenEndpointResponse(metadata, as, response)
  assert.equal(got.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token')
  const claims = await valid(metadata, got.access_token, 'svc://ledger')
  assert.equal(claims.sub, id)
  assert.equal(claims.act.sub, service.id)
})

test('a token of one organization is no token of the instance', async () => {
  const as = await discover(new URL(setting.organizationIssuer), 'oauth2')
  const got = await token(as, secretClient, oauth.ClientSecretBasic(secret), { resource: 'svc://ledger' })
  assert.equal((await valid(as, got.access_token, 'svc://ledger')).iss, setting.organizationIssuer)
  await assert.rejects(valid(metadata, got.access_token, 'svc://ledger'))
})
