import assert from 'node:assert/strict'
import test from 'node:test'
import * as oidc from 'openid-client'
import { follow, privateKey, setting, svid, withCertificate } from './setting.mjs'

const issuer = new URL(setting.issuer)
const { subject, secret, service } = setting.agents

// configured discovers the issuer anew, so that no scenario sees what another remembers.
const configured = async (client, auth = oidc.ClientSecretBasic(client.secret), server = issuer, fetch) => {
  const config = await oidc.discovery(server, client.id, undefined, auth, fetch && { [oidc.customFetch]: fetch })
  if (fetch) config[oidc.customFetch] = fetch
  oidc.enableNonRepudiationChecks(config) // signatures of ID tokens too
  return config
}

const methods = [
  ['client_secret_basic', secret, oidc.ClientSecretBasic(secret.secret)],
  ['client_secret_post', secret, oidc.ClientSecretPost(secret.secret)],
]
for (const [alg, agent] of Object.entries(setting.agents.keys)) methods.push([`private_key_jwt ${alg}`, agent, oidc.PrivateKeyJwt(await privateKey(agent.jwk))])
for (const [method, agent] of Object.entries(setting.agents.certificates)) methods.push([method, agent, oidc.TlsClientAuth(), withCertificate(agent)])
methods.push(['spiffe_jwt', setting.agents.workload, svid(setting.agents.workload)])

for (const [name, agent, auth, fetch] of methods) {
  test(`client credentials by ${name}`, async () => {
    for (const server of [setting.issuer, setting.organizationIssuer]) {
      const got = await oidc.clientCredentialsGrant(await configured(agent, auth, new URL(server), fetch), { scope: 'invoices:read', resource: 'svc://ledger' })
      assert.equal(got.token_type, 'bearer')
      assert.equal(got.scope, 'invoices:read')
      assert.ok(got.expiresIn() > 0)
    }
  })
}

test('DPoP: the nonce that the issuer asks for is used without the caller noticing', async () => {
  const config = await configured(secret)
  const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair())
  for (let n = 0; n < 2; n++) {
    const got = await oidc.clientCredentialsGrant(config, {}, { DPoP })
    assert.equal(got.token_type, 'dpop')
    assert.equal((await oidc.tokenIntrospection(config, got.access_token)).cnf.jkt, await DPoP.calculateThumbprint())
  }
})

test('introspection and revocation', async () => {
  const config = await configured(secret)
  const { access_token: token } = await oidc.clientCredentialsGrant(config, { resource: service.serves })
  for (const who of [config, await configured(service)]) {
    const about = await oidc.tokenIntrospection(who, token)
    assert.equal(about.active, true)
    assert.equal(about.sub, secret.id)
  }
  const stranger = Object.values(setting.agents.keys)[0]
  const other = await configured(stranger, oidc.PrivateKeyJwt(await privateKey(stranger.jwk)))
  assert.deepEqual(await oidc.tokenIntrospection(other, token), { active: false })
  await assert.rejects(oidc.tokenRevocation(other, token), { error: 'invalid_grant' })
  await oidc.tokenRevocation(config, token)
  await oidc.tokenRevocation(config, token)
  assert.deepEqual(await oidc.tokenIntrospection(config, token), { active: false })
})

test('token exchange', async () => {
  const { access_token: subjectToken } = await oidc.clientCredentialsGrant(await configured(secret), { resource: service.serves })
  const got = await oidc.genericGrantRequest(await configured(service), 'urn:ietf:params:oauth:grant-type:token-exchange', {
    subject_token: subjectToken, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', resource: 'svc://ledger',
  })
  assert.equal(got.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token')
})

// signIn is the whole way: the relying party makes a URL, the agent follows it with its own token, the relying party redeems the code.
const signIn = async (party, { pushed = false, DPoP, config, parameters = {} } = {}) => {
  config ??= await configured(party, party.secret ? oidc.ClientSecretBasic(party.secret) : oidc.None())
  if (DPoP) DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair())
  const checks = { pkceCodeVerifier: oidc.randomPKCECodeVerifier(), expectedState: oidc.randomState(), expectedNonce: oidc.randomNonce(), idTokenExpected: true, maxAge: 300 }
  const request = {
    redirect_uri: party.redirectUri, scope: 'openid profile agent offline_access', state: checks.expectedState, nonce: checks.expectedNonce, max_age: '300',
    code_challenge: await oidc.calculatePKCECodeChallenge(checks.pkceCodeVerifier), code_challenge_method: 'S256', ...parameters,
  }
  const url = pushed ? await oidc.buildAuthorizationUrlWithPAR(config, request, { DPoP }) : oidc.buildAuthorizationUrl(config, request)
  const own = await oidc.clientCredentialsGrant(await configured(subject, undefined, new URL(config.serverMetadata().issuer)), { resource: config.serverMetadata().issuer })
  const back = await follow(url, own.access_token)
  return { config, back, checks, DPoP, redeem: () => oidc.authorizationCodeGrant(config, back, checks, undefined, { DPoP }) }
}

for (const [name, party, options] of [
  ['a client with a secret', setting.parties.secret, {}],
  ['a client with a secret, request pushed', setting.parties.secret, { pushed: true }],
  ['a client that must push', setting.parties.pushed, { pushed: true }],
  ['a public client', setting.parties.public, {}],
  ['a public client with a key', setting.parties.public, { DPoP: true }],
  ['a client with a secret and a key, request pushed', setting.parties.bound, { pushed: true, DPoP: true }],
]) {
  test(`an agent signs in to ${name}`, async () => {
    const { config, redeem, DPoP } = await signIn(party, options)
    const got = await redeem()
    const claims = got.claims()
    assert.equal(claims.iss, setting.issuer)
    assert.equal(claims.sub, subject.id)
    assert.equal(claims.aud, party.id)
    assert.equal(claims.agent.name, 'subject')
    assert.equal(got.token_type, DPoP ? 'dpop' : 'bearer')
    const info = await oidc.fetchUserInfo(config, got.access_token, claims.sub, { DPoP })
    assert.equal(info.name, 'subject')

    const refreshed = await oidc.refreshTokenGrant(config, got.refresh_token, undefined, { DPoP })
    assert.notEqual(refreshed.refresh_token, got.refresh_token)
    assert.equal((await oidc.fetchUserInfo(config, refreshed.access_token, claims.sub, { DPoP })).sub, subject.id)
    // Used again, the old one is somebody else's copy, and ends all that came of the sign-in.
    await assert.rejects(oidc.refreshTokenGrant(config, got.refresh_token, undefined, { DPoP }), { error: 'invalid_grant' })
    await assert.rejects(oidc.refreshTokenGrant(config, refreshed.refresh_token, undefined, { DPoP }), { error: 'invalid_grant' })
  })
}

// FAPI 2.0 Security Profile: pushed requests, PKCE, no shared secret, tokens bound to what the client holds.
const { key, certificate } = setting.parties
const byKey = async (server) => configured(key, oidc.PrivateKeyJwt(await privateKey(key.jwk)), server)

test('FAPI 2.0: pushed request, private_key_jwt, tokens bound to a key', async () => {
  const { config, redeem, DPoP } = await signIn(key, { pushed: true, DPoP: true, config: await byKey() })
  const got = await redeem()
  assert.equal(got.token_type, 'dpop')
  assert.equal(got.claims().aud, key.id)
  const jkt = await DPoP.calculateThumbprint()
  // The relying party asks about its own tokens by the same method, and gives them back.
  assert.deepEqual((await oidc.tokenIntrospection(config, got.access_token)).cnf, { jkt })
  const next = await oidc.refreshTokenGrant(config, got.refresh_token, undefined, { DPoP })
  assert.equal((await oidc.tokenIntrospection(config, next.access_token)).cnf.jkt, jkt)
  await assert.rejects(oidc.refreshTokenGrant(config, next.refresh_token), { code: 'OAUTH_RESPONSE_BODY_ERROR' }) // no proof
  await oidc.tokenRevocation(config, next.refresh_token)
  assert.deepEqual(await oidc.tokenIntrospection(config, next.access_token), { active: false })
  await assert.rejects(oidc.refreshTokenGrant(config, next.refresh_token, undefined, { DPoP }), { error: 'invalid_grant' })
})

test('FAPI 2.0: at the issuer of an organization too', async () => {
  const { redeem } = await signIn(key, { pushed: true, DPoP: true, config: await byKey(new URL(setting.organizationIssuer)) })
  assert.equal((await redeem()).claims().iss, setting.organizationIssuer)
})

test('FAPI 2.0: pushed request, tls_client_auth, tokens bound to the certificate', async () => {
  const config = await configured(certificate, oidc.TlsClientAuth(), issuer, withCertificate(certificate))
  const { redeem } = await signIn(certificate, { pushed: true, config })
  const got = await redeem()
  assert.equal(got.token_type, 'bearer')
  const cnf = { 'x5t#S256': certificate.thumbprint }
  assert.deepEqual((await oidc.tokenIntrospection(config, got.access_token)).cnf, cnf)
  const next = await oidc.refreshTokenGrant(config, got.refresh_token)
  assert.deepEqual((await oidc.tokenIntrospection(config, next.access_token)).cnf, cnf)
  assert.equal((await oidc.fetchUserInfo(config, next.access_token, subject.id)).sub, subject.id)
  await assert.rejects(oidc.fetchUserInfo(await configured(certificate, oidc.TlsClientAuth()), next.access_token, subject.id)) // over a connection without it
  await oidc.tokenRevocation(config, next.access_token)
  assert.deepEqual(await oidc.tokenIntrospection(config, next.access_token), { active: false })
})

// Relying parties that nobody registered: their client_id is the URL of what they say about themselves.
const { document, documentKey } = setting.parties

for (const server of [setting.issuer, setting.organizationIssuer]) {
  for (const [name, party, options, auth] of [
    ['', document, {}, oidc.None()],
    [', request pushed, with a key', document, { pushed: true, DPoP: true }, oidc.None()],
    [' by its key, request pushed, tokens bound to a key', documentKey, { pushed: true, DPoP: true }, oidc.PrivateKeyJwt(await privateKey(documentKey.jwk))],
  ]) {
    test(`an agent signs in to a client known by its document${name}, at ${new URL(server).pathname}`, async () => {
      const config = await configured(party, auth, new URL(server))
      assert.equal(config.serverMetadata().client_id_metadata_document_supported, true)
      const { redeem, DPoP } = await signIn(party, { ...options, config })
      const got = await redeem()
      const claims = got.claims()
      assert.equal(claims.iss, server)
      assert.equal(claims.sub, subject.id)
      assert.equal(claims.aud, party.id)
      if (party.jwk) assert.equal((await oidc.tokenIntrospection(config, got.access_token)).client_id, party.id)
      const next = await oidc.refreshTokenGrant(config, got.refresh_token, undefined, { DPoP })
      await oidc.tokenRevocation(config, next.refresh_token)
      await assert.rejects(oidc.refreshTokenGrant(config, next.refresh_token, undefined, { DPoP }), { error: 'invalid_grant' })
    })
  }
}

test('a relying party whose key or certificate is not the registered one is refused everywhere', async () => {
  const strangers = [
    [key, oidc.PrivateKeyJwt(await privateKey(setting.agents.keys.ES256.jwk))],
    [certificate, oidc.TlsClientAuth(), issuer, withCertificate(setting.agents.certificates.tls_client_auth)],
    [certificate, oidc.TlsClientAuth()],
    [key, oidc.None()],
  ]
  for (const [party, auth, server, fetch] of strangers) {
    const config = await configured(party, auth, server, fetch)
    await assert.rejects(signIn(party, { pushed: true, config }), (e) => e.status === 401)
    for (const ask of [oidc.tokenIntrospection, oidc.tokenRevocation]) await assert.rejects(ask(config, 'x'), (e) => e.status === 401)
    await assert.rejects(oidc.refreshTokenGrant(config, 'x'), (e) => e.status === 401)
  }
})

test('at the issuer of an organization', async () => {
  const party = setting.parties.secret
  const { redeem } = await signIn(party, { config: await configured(party, undefined, new URL(setting.organizationIssuer)) })
  assert.equal((await redeem()).claims().iss, setting.organizationIssuer)
})

test('a code is good once, for one verifier, one client and one issuer', async () => {
  const { config, back, checks } = await signIn(setting.parties.secret)
  const stranger = await configured(setting.parties.pushed)
  await assert.rejects(oidc.authorizationCodeGrant(stranger, back, checks), { error: 'invalid_grant' })
  const wrong = await signIn(setting.parties.secret)
  await assert.rejects(oidc.authorizationCodeGrant(wrong.config, wrong.back, { ...wrong.checks, pkceCodeVerifier: oidc.randomPKCECodeVerifier() }), { error: 'invalid_grant' })
  const mixed = new URL(back)
  mixed.searchParams.set('iss', 'https://other.example') // RFC 9207
  await assert.rejects(oidc.authorizationCodeGrant(config, mixed, checks), { code: 'OAUTH_INVALID_RESPONSE' })
  mixed.searchParams.delete('iss') // the metadata says that it is always there
  await assert.rejects(oidc.authorizationCodeGrant(config, mixed, checks), { code: 'OAUTH_INVALID_RESPONSE' })
  const first = await signIn(setting.parties.secret)
  const got = await first.redeem()
  await assert.rejects(first.redeem(), { error: 'invalid_grant' })
  await assert.rejects(oidc.refreshTokenGrant(first.config, got.refresh_token), { error: 'invalid_grant' })
})

test('nobody signs in without a credential, and the client is told so', async () => {
  const config = await configured(setting.parties.secret)
  const state = oidc.randomState()
  const url = oidc.buildAuthorizationUrl(config, { redirect_uri: setting.parties.secret.redirectUri, scope: 'openid', state, code_challenge: await oidc.calculatePKCECodeChallenge(oidc.randomPKCECodeVerifier()), code_challenge_method: 'S256' })
  await assert.rejects(oidc.authorizationCodeGrant(config, await follow(url), { expectedState: state }), { error: 'login_required' })
})

test('a relying party exchanges what it has of a sign-in for an assertion, and nothing else', async () => {
  const { giver, parties: { secret: party } } = setting
  const { config, redeem } = await signIn(party)
  const got = await redeem()
  const at = new oidc.Configuration({ ...config.serverMetadata(), token_endpoint: giver.tokenEndpoint }, party.id, undefined, oidc.ClientSecretBasic(party.secret))
  const exchange = (kind, token, requested = 'id-jag') => oidc.genericGrantRequest(at, 'urn:ietf:params:oauth:grant-type:token-exchange', {
    requested_token_type: `urn:ietf:params:oauth:token-type:${requested}`, audience: giver.partner, scope: 'invoices:read',
    subject_token: token, subject_token_type: `urn:ietf:params:oauth:token-type:${kind}`,
  })
  for (const kind of ['id_token', 'refresh_token']) {
    const given = await exchange(kind, got[kind])
    assert.equal(given.issued_token_type, 'urn:ietf:params:oauth:token-type:id-jag')
    assert.equal(given.token_type, 'n_a')
    const claims = JSON.parse(Buffer.from(given.access_token.split('.')[1], 'base64url'))
    assert.equal(claims.sub, subject.id)
    assert.equal(claims.aud, giver.partner)
    assert.equal(claims.client_id, giver.clientId)
    assert.equal(claims.auth_time, got.claims().auth_time)
  }
  await assert.rejects(exchange('access_token', got.access_token), { error: 'invalid_request' })
  await assert.rejects(exchange('id_token', got.id_token, 'access_token'), { error: 'unauthorized_client' })
})

test('a refresh token is given back', async () => {
  const { config, redeem } = await signIn(setting.parties.secret)
  const got = await redeem()
  await oidc.tokenRevocation(config, got.refresh_token, { token_type_hint: 'refresh_token' })
  await assert.rejects(oidc.refreshTokenGrant(config, got.refresh_token), { error: 'invalid_grant' })
})

test('a refresh token is introspected by its party alone', async () => {
  const { config, redeem } = await signIn(setting.parties.secret)
  const got = await redeem()
  assert.equal((await oidc.tokenIntrospection(config, got.refresh_token)).active, true)
  assert.deepEqual(await oidc.tokenIntrospection(await configured(setting.parties.pushed), got.refresh_token), { active: false })
  assert.equal((await oidc.tokenIntrospection(config, got.access_token)).sub, subject.id)
})

test('an agent registers itself, and gets a token', async () => {
  for (const server of [setting.issuer, setting.organizationIssuer]) {
    const config = await oidc.dynamicClientRegistration(
      new URL(server), { client_name: `registered at ${server}`, grant_types: ['client_credentials'], token_endpoint_auth_method: 'client_secret_post', scope: 'invoices:read' },
      undefined, { initialAccessToken: setting.initialAccessToken })
    const { client_id: id } = config.clientMetadata()
    const got = await oidc.clientCredentialsGrant(config)
    assert.equal(got.scope, 'invoices:read')
    assert.equal((await oidc.tokenIntrospection(config, got.access_token)).sub, id)
  }
  await assert.rejects(
    oidc.dynamicClientRegistration(issuer, { client_name: 'another', grant_types: ['client_credentials'] }, undefined, { initialAccessToken: 'wrong' }),
    { code: 'OAUTH_WWW_AUTHENTICATE_CHALLENGE' })
})

const registering = setting.agents.keys.ES256.jwk
const { kty, crv, x, y, kid, alg } = registering
for (const [method, auth, more] of [
  ['client_secret_basic'], ['client_secret_post'], ['none', oidc.None()], ['private_key_jwt', oidc.PrivateKeyJwt(await privateKey(registering)), { jwks: { keys: [{ kty, crv, x, y, kid, alg }] } }],
]) {
  test(`a relying party registers itself with ${method}, and an agent signs in to it`, async () => {
    for (const server of [setting.issuer, setting.organizationIssuer]) {
      const redirectUri = 'https://registered.example/cb'
      const config = await oidc.dynamicClientRegistration(new URL(server), {
        client_name: `${method} at ${server}`, redirect_uris: [redirectUri], grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: method, ...more,
      }, auth ?? (method === 'client_secret_basic' ? oidc.ClientSecretBasic() : oidc.ClientSecretPost()), { initialAccessToken: setting.partyInitialToken })
      oidc.enableNonRepudiationChecks(config)
      const metadata = config.clientMetadata()
      assert.match(metadata.client_id, /^cli_/)
      assert.equal(metadata.token_endpoint_auth_method, method)
      const { redeem } = await signIn({ redirectUri }, { config })
      const got = await redeem()
      assert.equal(got.claims().aud, metadata.client_id)
      assert.equal(got.claims().sub, subject.id)
      assert.ok((await oidc.refreshTokenGrant(config, got.refresh_token)).access_token)
    }
  })
}
