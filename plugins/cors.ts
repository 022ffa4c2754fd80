// Lets pages of other origins call the service, where CORS_ORIGINS names them; no header says anything of it otherwise.
import cors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

/** What a page may read of an answer besides the few headers that it always may. */
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

/** Seconds for which a browser need not ask again. */
const MAX_AGE = 600

export default fp(
  // Before what may refuse a request: a page can only read an error that has these headers too.
  async function crossOrigin(app: FastifyInstance) {
    const { CORS_ORIGINS } = app.config
    if (CORS_ORIGINS === '') return
    await app.register(cors, {
      origin: CORS_ORIGINS === '*' ? '*' : CORS_ORIGINS.split(',').map((origin) => origin.trim()),
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      exposedHeaders: EXPOSED,
      maxAge: MAX_AGE,
      // A key is sent by the page itself; cookies mean nothing here.
      credentials: false,
      // It would end every OPTIONS, or refuse those that are no preflight.
      preflightContinue: true,
      strictPreflight: false,
    })
    // Whatever the URL: it is the request itself that is to be told of a 404. All other OPTIONS go on to `routing`.
    app.addHook('onRequest', (request, reply, done) => {
      if (isPreflight(request)) reply.code(204).send()
      else done()
    })
  },
  { name: 'cors', dependencies: ['errors'] },
)

const isPreflight = ({ method, headers }: { method: string; headers: Record<string, unknown> }): boolean =>
  method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined
