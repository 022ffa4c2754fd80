import { buildStoreKey } from '../../../../../src/cache/explicit.ts'
import type { CacheEntry } from '../../../../../src/cache/store.ts'
import { sendEntry } from '../../../../../src/http/cached-response.ts'
import { computeSchemaDigest } from '../../../../../src/http/etags.ts'
import { type App, renderRecord } from '../../../../../src/http/routes.ts'
import { describeRead } from '../../../../../src/openapi/operations.ts'
import { products } from '../../../../../src/resources/products.ts'

const schema = {
  ...describeRead(products, 'cached_detail', 'Read, by a cache key of its own,'),
  description: 'The same as without `cached_detail/`: it shows how a route keeps an answer under a key that it chooses.',
}

export default async function (app: App) {
  app.get('/', { schema, config: { access: products.access.read } }, async (request, reply) => {
    const { id } = request.params
    // The segment names the table: whatever is written to it, the answer is gone.
    const key = { segment: products.table, id: `cached_detail ${computeSchemaDigest(products)} ${id}` }
    const found = await app.cache.get<CacheEntry>(key)
    if (found) return sendEntry(request, reply, buildStoreKey(key), { entry: found.item, source: 'hit' })
    const kept = app.responseCache.createEntry(await renderRecord(app, products, id))
    app.cache.set(key, kept, kept.ttl)
    return sendEntry(request, reply, buildStoreKey(key), { entry: kept, source: app.config.CACHE_TTL === 0 ? 'bypass' : 'stored' })
  })
}
