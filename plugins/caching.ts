// The cache of responses, and the headers that tell clients and proxies how long they may cache.
import caching from '@fastify/caching'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { ExplicitCache } from '../src/cache/explicit.ts'
import { MemoryStore } from '../src/cache/memory.ts'
import { RedisStore } from '../src/cache/redis.ts'
import { ResponseCache } from '../src/cache/response-cache.ts'
import { combineStores } from '../src/cache/store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    responseCache: ResponseCache
    /** `Cache-Control` of responses to requests without a key (`shared`) and with one (`own`), and their `Vary`. */
    freshness: { shared: string; own: string; vary: string }
  }
}

const REVALIDATED = 'max-age=0, must-revalidate'

export default fp(
  async function cache(app: FastifyInstance) {
    const { CACHE_TTL, CACHE_MAX_BYTES, CACHE_SHARED_MAX_AGE: age, PUBLIC_URL, TRUST_PROXY } = app.config
    const memory = new MemoryStore(CACHE_MAX_BYTES)
    const store = CACHE_TTL === 0 ? undefined : app.redis ? combineStores(memory, new RedisStore(app.redis)) : memory
    // The default for responses without a `Cache-Control` of their own, such as writes and errors: nobody may store them.
    await app.register(caching, { privacy: 'no-store', cache: new ExplicitCache(app.db, store) })
    app.decorate('responseCache', new ResponseCache(app.db, store, CACHE_TTL * 1_000))
    app.decorate('freshness', {
      // `must-revalidate` would forbid proxies to serve stale responses while they revalidate.
      shared: age > 0 ? `public, max-age=0, s-maxage=${age}, stale-while-revalidate=${age}` : `public, ${REVALIDATED}`,
      own: `private, ${REVALIDATED}`,
      // Links depend on the forwarded host. A shared cache must not serve them to clients of another host.
      vary: PUBLIC_URL === '' && TRUST_PROXY !== '' ? 'Accept-Encoding, X-Forwarded-Host, X-Forwarded-Proto' : 'Accept-Encoding',
    })
  },
  { name: 'caching', dependencies: ['db', 'redis'] },
)
