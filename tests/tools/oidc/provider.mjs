// The certified OpenID provider, with what a test tells it on standard input: one JSON object for its configuration,
// then one JSON object a line with what changes. It says where it listens, and acknowledges, on standard output.
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'

import Provider, { errors } from 'oidc-provider'

console.info = console.warn = console.error // its own notices, away from what the test reads

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const told = JSON.parse((await lines.next()).value)

let handler = (_, response) => response.writeHead(503).end()
const server = createServer((request, response) => handler(request, response))
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${server.address().port}`

function start() {
  const provider = new Provider(issuer, {
    clients: told.clients,
    jwks: told.jwks,
    cookies: { keys: ['test'] },
    claims: { openid: ['sub'], groups: ['groups'] },
    conformIdTokenClaims: false, // a scope's claims are in the ID token, as most company providers have it
    scopes: ['openid', 'groups', ...told.scopes],
    pkce: { required: () => true },
    // A refresh token for each client that may use one; it is good once, and a second use ends the grant.
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: () => true,
    features: {
      revocation: { enabled: true },
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => told.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => {
          if (resource !== told.audience) throw new errors.InvalidTarget()
          return {
            scope: told.scopes.join(' '),
            audience: resource,
            accessTokenTTL: told.lifetime_seconds,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: told.algorithm } },
          }
        },
      },
    },
    extraTokenClaims: (_, token) => told.claims[token.clientId] ?? {},
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: told.groups?.[id] ?? [] }) }),
    renderError: (context, out) => { context.type = 'json'; context.body = out },
  })
  handler = provider.callback()
}

start()
console.log(JSON.stringify({ issuer }))
for await (const line of lines) {
  Object.assign(told, JSON.parse(line))
  start()
  console.log(JSON.stringify({ changed: true }))
}
