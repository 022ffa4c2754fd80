// The cache: answers that are kept until what they were read from changes, and what clients and proxies are told of keeping them.
import caching from '@fastify/caching'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { ResponseCache } from '../src/cache/answers.ts'
import { ExplicitCache } from '../src/cache/explicit.ts'
import { MemoryStore } from '../src/cache/memory.ts'
import { RedisStore } from '../src/cache/redis.ts'
import { combineStores } from '../src/cache/store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    responseCache: ResponseCache
    /** `Cache-Control` of what is read, without a key and with one, and the request headers that decide what it says. */
    freshness: { shared: string; own: string; vary: string }
  }
}

const REVALIDATED = 'max-age=0, must-revalidate'

export default fp(
  async function cache(app: FastifyInstance) {
    const { CACHE_TTL, CACHE_MAX_BYTES, CACHE_SHARED_MAX_AGE: age, PUBLIC_URL, TRUST_PROXY } = app.config
    const memory = new MemoryStore(CACHE_MAX_BYTES)
    const store = CACHE_TTL === 0 ? undefined : app.redis ? combineStores(memory, new RedisStore(app.redis)) : memory
    // Whatever says nothing else is not to be kept by anybody: writes, errors, what is about this moment only.
    await app.register(caching, { privacy: 'no-store', cache: new ExplicitCache(app.db, store) })
    app.decorate('responseCache', new ResponseCache(app.db, store, CACHE_TTL * 1_000))
    app.decorate('freshness', {
      // A proxy that may serve what it has while it asks for news must not be told that it has to ask first.
      shared: age > 0 ? `public, max-age=0, s-maxage=${age}, stale-while-revalidate=${age}` : `public, ${REVALIDATED}`,
      own: `private, ${REVALIDATED}`,
      // Links begin with what a proxy says of the client's URL: a shared cache must not give them to others.
      vary: PUBLIC_URL === '' && TRUST_PROXY !== '' ? 'Accept-Encoding, X-Forwarded-Host, X-Forwarded-Proto' : 'Accept-Encoding',
    })
  },
  { name: 'caching', dependencies: ['db', 'redis'] },
)
