// Stores of cache entries, in process memory and in Redis, follow the same rules.
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { ExplicitCache } from '../../src/cache/explicit.ts'
import { MemoryStore } from '../../src/cache/memory.ts'
import { RedisStore } from '../../src/cache/redis.ts'
import { type CacheEntry, combineStores, getRemainingTtl, type Store } from '../../src/cache/store.ts'
import { Connection } from '../../src/redis.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { ask, build, onEach } from '../helper.ts'
import * as redis from '../redis.ts'

const [embedded] = DIALECTS as [Dialect]
const MINUTE = 60_000

const createEntry = (body: string, rest: Partial<CacheEntry> = {}): CacheEntry => ({
  kind: 'answer',
  state: '1.7',
  tag: 'a',
  headers: { link: '<é>; rel="next"' },
  body: Buffer.from(body),
  stored: Date.now(),
  ttl: MINUTE,
  ...rest,
})

const open = (url: string) => Connection.open(url, { probe: (redis) => redis.ping() })

async function openRedisStore(t: Test): Promise<Store> {
  const connection = await open(redis.REDIS)
  t.teardown(() => connection.close())
  return new RedisStore(connection, redis.prefixFor(t))
}

const stores: Record<string, [skip: string | false, make: (t: Test) => Promise<Store>]> = {
  memory: [false, async () => new MemoryStore(1_000_000)],
  Redis: [redis.skip, openRedisStore],
  'memory in front of Redis': [redis.skip, async (t) => combineStores(new MemoryStore(1_000_000), await openRedisStore(t))],
}

for (const [name, [skip, make]] of Object.entries(stores)) {
  t.test(`${name} returns an entry only for its key, its state and its lifetime`, { skip }, async (t) => {
    const store = await make(t)
    const get = async (key: string, state = '1.7') => store.getLocal(key, state) ?? store.getRemote(key, state)
    t.equal(await get('a'), undefined, 'the store is empty')
    const bodies = ['{"a":1}', '', 'ü😀\n\n\0{}', 'x'.repeat(50_000)]
    for (const [index, body] of bodies.entries()) {
      t.equal(store.set(`key ${index}`, createEntry(body)), true)
      const entry = await get(`key ${index}`)
      t.same({ ...entry, body: String(entry?.body), stored: 0 }, { ...createEntry(body), body, stored: 0 }, 'the entry is unchanged')
      t.equal(await get(`key ${index}`, '1.8'), undefined, 'the entry belongs to its state')
      t.equal(await get(`key ${index + 10}`), undefined, 'the entry belongs to its key')
    }
    store.set('key 0', createEntry('newer', { state: '2.9' }))
    t.equal(String((await get('key 0', '2.9'))?.body), 'newer', 'a newer entry replaces it')

    store.set('old', createEntry('old', { stored: Date.now() - MINUTE }))
    t.equal(await get('old'), undefined, 'an expired entry is not returned')
    const brief = createEntry('brief', { ttl: 50 })
    store.set('brief', brief)
    while (getRemainingTtl(brief) > 0) await new Promise(setImmediate)
    t.equal(await get('brief'), undefined)
    t.equal(store.set('huge', createEntry('x'.repeat(2_000_000))), false, 'an entry that is too large is not stored')
    t.equal(await get('huge'), undefined)
    t.equal(String((await get('key 1'))?.body), bodies[1], 'the large entry evicted nothing')
  })
}

t.test('the least recently used entry is evicted first', async (t) => {
  const store = new MemoryStore(100_000)
  for (let n = 0; n < 30; n++) {
    store.set(`key ${n}`, createEntry('x'.repeat(5_000)))
    t.ok(store.getLocal('key 0', '1.7'), 'the entry in use stays')
    t.ok(store.bytes <= 100_000)
  }
  t.equal(store.getLocal('key 1', '1.7'), undefined)
  t.ok(store.size > 10)
})

t.test('compressed forms count towards the size of the store', async (t) => {
  const store = new MemoryStore(100_000)
  const grown = createEntry('x'.repeat(5_000))
  store.set('key', grown)
  const before = store.bytes
  grown.encoded = { br: Buffer.alloc(1_000), gzip: Buffer.alloc(500) }
  store.resize('key', grown)
  t.equal(store.bytes, before + 1_500)
  store.resize('key', createEntry('another'))
  t.equal(store.bytes, before + 1_500, 'an entry that is no longer stored does not count')
})

t.test('values of other programs in Redis are never returned as entries', { skip: redis.skip }, async (t) => {
  const connection = await open(redis.REDIS)
  t.teardown(() => connection.close())
  const prefix = redis.prefixFor(t)
  const store = new RedisStore(connection, prefix)
  store.set('a', createEntry('good'))
  const [key = ''] = (await connection.run((redis) => redis.keys(`${prefix}*`))) ?? []
  for (const bytes of ['', 'x', '\n', 'null\nx', '{}\nx', '[1]\n', '{"state":"1.8"}\nx', '{"state":"1.7"}\nx']) {
    await connection.run((redis) => redis.set(key, bytes))
    t.equal(await store.getRemote('a', '1.7'), undefined, JSON.stringify(bytes))
  }
})

t.test('an unresponsive Redis is a miss and is not waited for', { skip: redis.skip }, async (t) => {
  const closed = await open('redis://127.0.0.1:1')
  t.teardown(() => closed.close())
  const away = new RedisStore(closed)
  t.equal(away.set('a', createEntry('a')), false)
  t.equal(await away.getRemote('a', '1.7'), undefined)

  // A proxy that can swallow what it receives.
  let silent = false
  const server = createServer((socket) => {
    const real = redis.REDIS.replace(/^redis:\/\//, '').split(':')
    import('node:net').then(({ connect }) => {
      const upstream = connect(Number(real[1] ?? 6379), real[0])
      socket.on('data', (bytes) => silent || upstream.write(bytes))
      upstream.on('data', (bytes) => socket.write(bytes))
      for (const side of [socket, upstream]) {
        side.on('error', () => {})
        side.on('close', () => [socket, upstream].map((other) => other.destroy()))
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const connection = await open(`redis://127.0.0.1:${port}`)
  t.teardown(() => connection.close())
  const store = new RedisStore(connection, redis.prefixFor(t))
  store.set('a', createEntry('a'))
  t.ok(await store.getRemote('a', '1.7'))
  silent = true
  let reads = 0
  const start = performance.now()
  for (; !connection.isAway; reads++) t.equal(await store.getRemote('a', '1.7'), undefined)
  t.ok(reads > 3, `${reads} reads in ${performance.now() - start} ms until Redis was considered unavailable`)
})

onEach('app.cache stores values until one of their tables changes', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', { name: 'a', price: 1 })
  const names = async (id = 'names') => {
    const key = { segment: 'categories+products', id }
    const cached = await app.cache.get<string[]>(key)
    if (cached) return { names: cached.item, source: 'cache' }
    const rows = await app.db.read.select({ name: app.db.tables.products.name }).from(app.db.tables.products)
    const read = rows.map(({ name }) => name)
    app.cache.set(key, read, MINUTE)
    return { names: read, source: 'database' }
  }
  t.same(await names(), { names: ['a'], source: 'database' })
  t.same(await names(), { names: ['a'], source: 'cache' })
  t.same(await names('others'), { names: ['a'], source: 'database' }, 'another key')
  await ask(app, 'POST', '/api/products/', { name: 'b', price: 1 })
  t.same(await names(), { names: ['a', 'b'], source: 'database' })
  await ask(app, 'POST', '/api/categories/', { name: 'c' })
  t.same(await names(), { names: ['a', 'b'], source: 'database' }, 'a write to either table invalidates')

  const key = { segment: 'products', id: 'late' }
  await app.cache.get(key)
  await ask(app, 'PATCH', '/api/products/1/', { price: 2 })
  app.cache.set(key, 'read before the change', MINUTE)
  t.equal(await app.cache.get(key), null, 'a value that was read before a write is not stored after it')

  for (const bad of ['text', { segment: 'nothing', id: 'a' }, { segment: '', id: 'a' }, { segment: 'products', id: 'never asked for' }])
    t.throws(() => app.cache.set(bad, 1, MINUTE), TypeError, JSON.stringify(bad))
  t.equal(await app.cache.get('text'), null)
  const [error, item] = await new Promise<unknown[]>((resolve) => app.cache.get(key, (...args) => resolve(args)))
  t.strictSame([error, item], [null, null], 'the interface with callbacks, which the plugin uses')
})

t.test('@fastify/caching finds nothing under a name that a client sends', async (t) => {
  const app = await build(t, embedded)
  const cache = new ExplicitCache(app.db, new MemoryStore(1_000_000))
  let result: unknown[] = []
  cache.get({ segment: app.cacheSegment, id: 'products' }, (...args) => {
    result = args
  })
  t.strictSame(result, [null, null], 'the callback is called at once')
})
