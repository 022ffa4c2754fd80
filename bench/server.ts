// A child process: Stockroom without cache and rate limits by default, since a load repeats the same requests and exceeds every limit.
import { buildApp } from '../src/app.ts'
import { createFirstKey } from '../src/auth/keys.ts'
import { loadConfig } from '../src/config.ts'
import { readInput } from './child.ts'
import { KEY } from './key.ts'
import { serve } from './serve.ts'

export interface ServerInput {
  url: string
  /** Whether to count requests. The limit is too high to refuse any. */
  limited?: boolean
  /** Body of `/unchecked` and `/read`. */
  body?: string
  settings?: Record<string, string>
}

const { url, limited = false, body, settings } = readInput<ServerInput>()
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
