// oidc-provider as it comes, with what the comparison needs: one client with a secret, ES256, and access tokens that are JWTs.
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import Provider from 'oidc-provider'

const [address, cert, key] = process.argv.slice(2)
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const resource = 'urn:svc:orders'
const provider = new Provider(`https://${address}`, {
  clients: [{
    client_id: 'bench', client_secret: 'aidp_peer-secret-of-the-same-length-0123456789ab', grant_types: ['client_credentials'], response_types: [], redirect_uris: [],
    id_token_signed_response_alg: 'ES256',
  }],
  enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'bench' }] },
  routes: { token: '/oauth2/token' },
  scopes: ['orders:read'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: 'orders:read', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'ES256' } } }),
    },
  },
})
const [host, port] = address.split(':')
createServer({ cert: readFileSync(cert), key: readFileSync(key), keepAliveTimeout: 600_000 }, provider.callback()).listen(Number(port), host)
