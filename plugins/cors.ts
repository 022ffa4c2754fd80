// CORS for the origins in CORS_ORIGINS. Without them no CORS header is sent.
import cors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

/** Response headers that pages may read, besides the safelisted ones. */
const EXPOSED = [
  'Accept-Patch',
  'Age',
  'Allow',
  'Cache-Status',
  'ETag',
  'Idempotency-Replayed',
  'Link',
  'Location',
  'Preference-Applied',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'WWW-Authenticate',
  'X-Request-Id',
]

/** Seconds for which browsers cache a preflight. */
const MAX_AGE = 600

export default fp(
  // Registered before plugins that refuse requests: a page can read an error only with these headers.
  async function crossOrigin(app: FastifyInstance) {
    const { CORS_ORIGINS } = app.config
    if (CORS_ORIGINS === '') return
    await app.register(cors, {
      origin: CORS_ORIGINS === '*' ? '*' : CORS_ORIGINS.split(',').map((origin) => origin.trim()),
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      exposedHeaders: EXPOSED,
      maxAge: MAX_AGE,
      // Pages send the API key themselves. Cookies are not used.
      credentials: false,
      // Otherwise @fastify/cors would answer every OPTIONS request, or refuse those that are no preflight.
      preflightContinue: true,
      strictPreflight: false,
    })
    // Answers preflights of any URL, so that a page can read the 404 of the request itself. `routing` answers other OPTIONS requests.
    app.addHook('onRequest', (request, reply, done) => {
      if (isPreflight(request)) reply.code(204).send()
      else done()
    })
  },
  { name: 'cors', dependencies: ['errors'] },
)

const isPreflight = ({ method, headers }: { method: string; headers: Record<string, unknown> }): boolean =>
  method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined
