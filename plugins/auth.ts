// Authentication and authorisation: verifies the API key of a request, counts the request, and checks the role that the route requires.
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { createSerialiser } from '../drizzle/serialise.ts'
import { type ApiKey, Keyring, type Verdict } from '../src/auth/keyring.ts'
import { parseToken } from '../src/auth/token.ts'
import { Problem } from '../src/errors.ts'
import { countHeaders } from '../src/http/limits.ts'
import { identifyAddress } from '../src/limits/address.ts'
import { type Access, hasRole, type Role } from '../src/roles.ts'

declare module 'fastify' {
  interface FastifyInstance {
    keyring: Keyring
    /** Verifies the key of a long-running request again. Undefined if the key became invalid or may no longer use the route. */
    verifyCurrentKey(request: FastifyRequest): Promise<ApiKey | undefined>
  }
  interface FastifyRequest {
    /** Null for a request without a key. */
    key: ApiKey | null
  }
  interface FastifyContextConfig {
    access?: Access
  }
}

/** The Bearer scheme of RFC 6750, case-insensitive. */
const BEARER = /^bearer +(\S+)$/i

const readToken = (authorization = '') => BEARER.exec(authorization)?.[1] ?? ''

const KEY_HELP = 'Send "Authorization: Bearer stk_…". Administrators create keys with "stockroom keys create" or at /api/keys/.'

const createUnauthorized = (code: 'key-required' | 'key-refused', detail: string, error = '') =>
  new Problem(code, `${detail} ${KEY_HELP}`, { headers: { 'www-authenticate': `Bearer realm="Stockroom"${error}` } })

const createKeyRefused = (detail: string) => createUnauthorized('key-refused', detail, ', error="invalid_token"')

const REFUSALS: Record<Extract<Verdict, { refused: string }>['refused'], string> = {
  unknown: 'The key is not known.',
  revoked: 'The key was revoked.',
  expired: 'The key has expired.',
}

export default fp(
  async function auth(app: FastifyInstance) {
    const keyring = new Keyring(app.db, (error) => app.log.warn({ err: error }, 'last_used_at of a key could not be updated'))
    app.decorate('keyring', keyring)
    app.decorateRequest('key', null)
    app.decorate('verifyCurrentKey', async ({ headers, routeOptions }) => {
      const verdict = await keyring.verify(readToken(headers.authorization))
      return 'key' in verdict && hasRole(verdict.key.role, findRequiredRole(routeOptions.config.access) ?? 'read') ? verdict.key : undefined
    })
    // Guesses of one address occupy one database connection at most.
    const serialise = createSerialiser()
    const { anonymous, authenticated, 'failed-authentication': failures } = app.limits

    app.addHook('onRoute', (route) => {
      const access = route.config?.access ?? (isPreflight(route) ? 'unchecked' : undefined)
      if (!access) throw new TypeError(`Route ${route.method} ${route.url} has no config.access. Declare who may call it.`)
      route.config = { ...route.config, access }
      if (!route.schema?.hide) route.schema = { ...route.schema, security: describeSecurity(findRequiredRole(access)) }
    })

    app.addHook('onRequest', async (request, reply) => {
      const access = request.is404 ? 'anyone' : request.routeOptions.config.access
      if (access === 'unchecked') return
      const { authorization } = request.headers
      if (authorization === undefined) await anonymous.take(request, reply)
      else {
        if (countHeaders(request.raw.rawHeaders, 'authorization') > 1) {
          await anonymous.take(request, reply)
          throw new Problem('malformed-request', 'The request has more than one Authorization header.')
        }
        const token = readToken(authorization)
        request.key = keyring.getCached(token) ?? (await verifyKey(token, request, reply))
        await authenticated.take(request, reply)
      }
    })
    // Before the body is read. After `routing`, so that an unknown URL is a 404 for everyone.
    app.addHook('preParsing', (request, _reply, _payload, done) => {
      const needed = findRequiredRole(request.routeOptions.config.access)
      if (needed) authorise(request.key, needed)
      done()
    })
    // Runs before the database closes, whose hook was added earlier.
    app.addHook('onClose', () => keyring.close())

    const findRequiredRole = (access: Access = 'admin'): Role | undefined => {
      if (access === 'unchecked' || access === 'anyone') return undefined
      if (access === 'key') return 'read'
      return access === 'read' && !app.config.REQUIRE_KEY_TO_READ ? undefined : access
    }

    /** Verifies a token. Throws `key-refused`, or `quota-exceeded` after too many failures of the address. A valid key always passes. */
    async function verifyKey(token: string, request: FastifyRequest, reply: FastifyReply): Promise<ApiKey> {
      const lookUp = () => keyring.verify(token)
      const isImmediate = keyring.wasRecentlyValid(token) || parseToken(token) === undefined
      const verdict = isImmediate ? await lookUp() : await serialise(identifyAddress(request.ip, request.socket.remoteAddress), lookUp)
      if ('key' in verdict) return verdict.key
      await (verdict.guessed ? failures : anonymous).take(request, reply)
      throw createKeyRefused(token === '' ? 'The Authorization header has no bearer token.' : REFUSALS[verdict.refused])
    }
  },
  { name: 'auth', dependencies: ['db', 'rate-limit'] },
)

/** Whether a route answers preflights. It belongs to @fastify/cors and declares no access. */
const isPreflight = ({ method, schema }: RouteOptions) => method === 'OPTIONS' && schema?.hide === true

function authorise(key: ApiKey | null, needed: Role): void {
  if (!key) throw createUnauthorized('key-required', `This needs a key whose role is ${needed}${needed === 'admin' ? '' : ' or more'}.`)
  if (!hasRole(key.role, needed))
    throw new Problem('forbidden', `This needs a key whose role is ${needed}${needed === 'admin' ? '' : ' or more'}; yours is ${key.role}.`)
}

/** Describes the security of an operation for OpenAPI. A key is optional where none is required: it raises the rate limit. */
const describeSecurity = (needed: Role | undefined): Record<string, string[]>[] => (needed ? [{ key: [needed] }] : [{}, { key: [] }])
