import assert from 'node:assert/strict'
import test from 'node:test'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import { follow, privateKey, setting, svid, withCertificate } from './setting.mjs'

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
methods.push(['spiffe_jwt', { client_id: setting.agents.workload.id }, svid(setting.agents.workload)])

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

test('introspection and revocation', async () => {
  const auth = oauth.ClientSecretBasic(secret)
  const { access_token: accessToken } = await token(metadata, secretClient, auth)
  const introspect = async () => oauth.processIntrospectionResponse(metadata, secretClient, await oauth.introspectionRequest(metadata, secretClient, auth, accessToken))
  const before = await introspect()
  assert.equal(before.active, true)
  assert.equal(before.sub, id)
  await oauth.processRevocationResponse(await oauth.revocationRequest(metadata, secretClient, auth, accessToken))
  assert.deepEqual(await introspect(), { active: false })
})

for (const [name, bound] of [['', false], [', all bound to a key', true]]) {
  test(`an agent signs in: pushed request, code with PKCE, ID token, user info, refresh${name}`, async () => {
    const party = setting.parties[bound ? 'bound' : 'pushed']
    const client = { client_id: party.id, require_auth_time: true }
    const auth = oauth.ClientSecretBasic(party.secret)
    const DPoP = bound ? oauth.DPoP(client, await oauth.generateKeyPair('ES256')) : undefined
    // once sends a request, and again when the issuer wants its nonce in the proof.
    const once = async (send, process) => {
      try {
        return await process(await send())
      } catch (e) {
        if (!oauth.isDPoPNonceError(e)) throw e
        return process(await send())
      }
    }
    const verifier = oauth.generateRandomCodeVerifier(), state = oauth.generateRandomState(), nonce = oauth.generateRandomNonce()
    const pushed = await once(
      async () => oauth.pushedAuthorizationRequest(metadata, client, auth, {
        response_type: 'code', redirect_uri: party.redirectUri, scope: 'openid profile offline_access', state, nonce,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
      }, { DPoP }),
      (response) => oauth.processPushedAuthorizationResponse(metadata, client, response))
    const url = new URL(metadata.authorization_endpoint)
    url.search = new URLSearchParams({ client_id: party.id, request_uri: pushed.request_uri })
    const { subject } = setting.agents
    const own = await token(metadata, { client_id: subject.id }, oauth.ClientSecretBasic(subject.secret), { resource: setting.issuer })
    const back = await follow(url, own.access_token)
    const wrong = new URL(back)
    wrong.searchParams.set('iss', setting.organizationIssuer) // RFC 9207
    assert.throws(() => oauth.validateAuthResponse(metadata, client, wrong, state), /"iss"/)
    const parameters = oauth.validateAuthResponse(metadata, client, back, state)

    const got = await once(
      () => oauth.authorizationCodeGrantRequest(metadata, client, auth, parameters, party.redirectUri, verifier, { DPoP }),
      async (response) => {
        const tokens = await oauth.processAuthorizationCodeResponse(metadata, client, response, { expectedNonce: nonce, requireIdToken: true })
        await oauth.validateApplicationLevelSignature(metadata, response)
        return tokens
      })
    const claims = oauth.getValidatedIdTokenClaims(got)
    assert.equal(claims.sub, subject.id)
    const info = await once(
      () => oauth.userInfoRequest(metadata, client, got.access_token, { DPoP }),
      (response) => oauth.processUserInfoResponse(metadata, client, claims.sub, response))
    assert.equal(info.name, 'subject')
    const refresh = (refreshToken) => once(
      () => oauth.refreshTokenGrantRequest(metadata, client, auth, refreshToken, { DPoP }),
      (response) => oauth.processRefreshTokenResponse(metadata, client, response))
    const next = await refresh(got.refresh_token)
    assert.notEqual(next.refresh_token, got.refresh_token)
    await assert.rejects(refresh(got.refresh_token), { error: 'invalid_grant' })
    await assert.rejects(refresh(next.refresh_token), { error: 'invalid_grant' })
  })
}

test('dynamic registration', async () => {
  const response = await oauth.dynamicClientRegistrationRequest(metadata, { client_name: 'by oauth4webapi', grant_types: ['client_credentials'], dpop_bound_access_tokens: true }, { initialAccessToken: setting.initialAccessToken })
  const client = await oauth.processDynamicClientRegistrationResponse(response)
  const auth = oauth.ClientSecretBasic(client.client_secret)
  await assert.rejects(token(metadata, client, auth), { error: 'invalid_dpop_proof' })
  const read = await fetch(client.registration_client_uri, { headers: { authorization: `Bearer ${client.registration_access_token}` } })
  assert.equal((await read.json()).client_id, client.client_id)
})
