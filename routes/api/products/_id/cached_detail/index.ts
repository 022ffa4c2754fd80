import { buildStoreKey } from '../../../../../src/cache/explicit.ts'
import type { CacheEntry } from '../../../../../src/cache/store.ts'
import { sendEntry } from '../../../../../src/http/cached-response.ts'
import { computeSchemaDigest } from '../../../../../src/http/etags.ts'
import { type App, renderRecord } from '../../../../../src/http/routes.ts'
import { describeRead } from '../../../../../src/openapi/operations.ts'
import { products } from '../../../../../src/resources/products.ts'

const schema = {
  ...describeRead(products, 'cached_detail', 'Read, by a cache key of its own,'),
  description: 'Same response as without `cached_detail/`. An example of a route that caches under its own key.',
}

export default async function (app: App) {
  app.get('/', { schema, config: { access: products.access.read } }, async (request, reply) => {
    const { id } = request.params
    // The segment names the table. Any write to it invalidates the entry.
    const key = { segment: products.table, id: `cached_detail ${computeSchemaDigest(products)} ${id}` }
    const cached = await app.cache.get<CacheEntry>(key)
    if (cached) return sendEntry(request, reply, buildStoreKey(key), { entry: cached.item, source: 'hit' })
    const entry = app.responseCache.createEntry(await renderRecord(app, products, id))
    app.cache.set(key, entry, entry.ttl)
    return sendEntry(request, reply, buildStoreKey(key), { entry, source: app.config.CACHE_TTL === 0 ? 'bypass' : 'stored' })
  })
}
