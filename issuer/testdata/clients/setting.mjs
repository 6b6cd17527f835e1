// What the Go test hands to a client: the issuer, and the agents registered there for the scenarios.
import { readFileSync } from 'node:fs'
import { importJWK } from 'jose'
import { Agent, fetch as undici } from 'undici'

export const setting = JSON.parse(readFileSync(process.env.SETTING, 'utf8'))

// privateKey is a CryptoKey that cannot be exported again, as oauth4webapi wants it, with its kid.
export const privateKey = async (jwk) => ({ key: await importJWK(jwk, jwk.alg), kid: jwk.kid })

// withCertificate is a fetch that presents a client certificate; the one built into Node.js cannot.
export const withCertificate = ({ certificate, key }) => {
  const dispatcher = new Agent({ connect: { cert: certificate, key, ca: readFileSync(process.env.NODE_EXTRA_CA_CERTS) } })
  return (url, options) => undici(url, { ...options, dispatcher })
}

// svid authenticates a workload by its JWT-SVID for the issuer (draft-ietf-oauth-spiffe-client-auth): both clients take a function for a method they do not know.
export const svid = ({ svids }) => (as, client, body) => {
  body.set('client_id', client.client_id)
  body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe')
  body.set('client_assertion', svids[as.issuer])
}

// ask tells the Go test to do something to the issuer that a client cannot, and waits until it is done.
export const ask = async (what) => {
  const response = await fetch(new URL(what, setting.control), { method: 'POST' })
  if (!response.ok) throw new Error(`${what}: ${await response.text()}`)
  return response.json()
}

// follow is what an agent does with an authorization URL: it asks for it with its own token, and goes where it is sent.
export const follow = async (url, token) => {
  const response = await fetch(url, { redirect: 'manual', headers: token ? { authorization: `Bearer ${token}` } : {} })
  if (response.status !== 303) throw new Error(`${response.status} ${await response.text()}`)
  return new URL(response.headers.get('location'))
}
