// A child process: Stockroom as it is, but that it caches answers and counts requests only where it is told to: a load asks for the same
// again and again, and more often than anyone may.
import { buildApp } from '../src/app.ts'
import { createFirstKey } from '../src/auth/keys.ts'
import { loadConfig } from '../src/config.ts'
import { inputOf } from './child.ts'
import { KEY } from './key.ts'
import { serve } from './serve.ts'

export interface ServerInput {
  url: string
  /** It counts requests, and refuses none. */
  limited?: boolean
  /** What `/unchecked` and `/read` answer. */
  body?: string
  settings?: Record<string, string>
}

const { url, limited = false, body, settings } = inputOf<ServerInput>()
const limit = limited ? '100000' : '0'
const limits = {
  RATE_LIMIT_ANONYMOUS: limit,
  RATE_LIMIT_AUTHENTICATED: limit,
  RATE_LIMIT_WINDOW: '1',
  MAX_CONNECTIONS_PER_ADDRESS: '0',
}
const app = await buildApp({ config: loadConfig({ LOG_LEVEL: 'silent', DATABASE_URL: url, CACHE_TTL: '0', ...limits, ...settings }) })
if (body !== undefined) {
  const bytes = Buffer.from(body)
  for (const access of ['unchecked', 'read'] as const)
    app.get(`/${access}`, { config: { access } }, (_request, reply) => reply.type('application/json; charset=utf-8').send(bytes))
}
await app.ready()
await createFirstKey(app.db, KEY)
await serve(app)
