// Cached answers: what is cached, for whom, and what invalidates it.
import { copyFile } from 'node:fs/promises'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import type { InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import { issueKey } from '../../src/auth/keys.ts'
import { MemoryStore } from '../../src/cache/memory.ts'
import { ResponseCache } from '../../src/cache/response-cache.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import type { App } from '../../src/http/routes.ts'
import { connect, DIALECTS, type Dialect } from '../dialects.ts'
import { ask, authorization, build, get, onEach } from '../helper.ts'
import * as redis from '../redis.ts'

const [embedded, postgres] = DIALECTS as [Dialect, Dialect]
const LIST = '/api/products/'

/** Runs a test with both stores: process memory on each database, and process memory in front of Redis. */
function onEachStore(title: string, body: (t: Test, dialect: Dialect, env: Record<string, string>) => Promise<void>): void {
  onEach(title, (t, dialect) => body(t, dialect, {}))
  t.test(`${title} [sqlite, Redis]`, { skip: redis.skip }, (t) => body(t, embedded, { REDIS_URL: redis.REDIS }))
}

async function fill(app: App): Promise<void> {
  const { body: clothing } = await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await ask(app, 'POST', '/api/categories/', { name: 'Shirts', parent: clothing.id })
  for (const [number, name] of ['Red shirt', 'Blue shirt', 'Hat'].entries())
    await ask(app, 'POST', LIST, { name, price: number + 1, sku: `S${number}`, category: number < 2 ? 2 : 1, brand: 'Acme' })
}

/** Calls `seen` before each call of the database method `name`. Returns a function that restores the method. */
function watch({ db }: App, name: 'list' | 'readRows' | 'readState', onCall: () => unknown): () => void {
  const real = db[name] as (...args: unknown[]) => unknown
  const watching = (...args: unknown[]) => {
    onCall()
    return real(...args)
  }
  Object.assign(db, { [name]: watching })
  return () => void Object.assign(db, { [name]: real })
}

/** Reads the source of an answer from `Cache-Status`: `hit` or the reason for forwarding. */
const readSource = ({ headers }: { headers: Record<string, unknown> }) =>
  /^stockroom; (hit|fwd=\w+)/.exec(String(headers['cache-status']))?.[1]

const READ = [
  '/api/products/',
  '/api/products/1/',
  '/api/products/1/cached_detail/',
  '/api/products/?category__slug=shirts',
  '/api/products/?category__under=1',
]

onEachStore('a repeated read is a cache hit with the same answer', async (t, dialect, env) => {
  const app = await build(t, dialect, { env })
  await fill(app)
  for (const url of READ) {
    const first = await get(app, url)
    const again = await get(app, url)
    t.equal(readSource(first), 'fwd=miss', url)
    t.match(first.headers['cache-status'], /; stored$/, url)
    t.equal(readSource(again), 'hit', url)
    t.match(again.headers['cache-status'], /; ttl=(60|59)$/, url)
    t.match(again.headers.age, /^[01]$/, url)
    t.equal(first.headers.age, undefined, url)
    t.strictSame(again.body, first.body, url)
    for (const name of ['etag', 'link', 'content-type', 'last-modified', 'vary', 'cache-control', 'content-length'])
      t.equal(again.headers[name], first.headers[name], `${url} ${name}`)
  }
})

/** Writes, with the URLs of READ that each invalidates. */
const writes: Record<string, [(app: App) => Promise<unknown>, gone: readonly string[]]> = {
  create: [(app) => ask(app, 'POST', LIST, { name: 'Coat', price: 9, category: 2 }), READ],
  'change of another record': [(app) => ask(app, 'PATCH', `${LIST}3/`, { price: 7 }), READ],
  replace: [(app) => ask(app, 'PUT', `${LIST}1/`, { name: 'Red shirt', price: 8, category: 2 }), READ],
  delete: [(app) => ask(app, 'DELETE', `${LIST}3/`), READ],
  stock: [(app) => ask(app, 'POST', `${LIST}1/stock/`, { delta: 1, reason: 'came' }), READ],
  bulk: [(app) => ask(app, 'POST', `${LIST}bulk/`, { operations: [{ op: 'update', id: 1, body: { stock: 9 } }] }), READ],
  'a category': [(app) => ask(app, 'PATCH', '/api/categories/2/', { name: 'Tops' }), READ.filter((url) => url.includes('category__'))],
  'a key': [(app) => issueKey(app.db, { name: 'A', role: 'read' }, COMMAND_LINE), []],
  'a change that changes nothing': [(app) => ask(app, 'PATCH', `${LIST}1/`, { brand: 'Acme' }), []],
  'a request that is refused': [(app) => ask(app, 'POST', LIST, { name: 'Twice', price: 1, sku: 'S1' }), []],
}

onEachStore('a write invalidates the entries that read its table, and no others', async (t, dialect, env) => {
  for (const [what, [write, invalidated]] of Object.entries(writes)) {
    const app = await build(t, dialect, { env })
    await fill(app)
    const before = new Map<string, Awaited<ReturnType<typeof get>>>()
    for (const url of READ) before.set(url, await get(app, url))
    await write(app)
    for (const url of READ) {
      const answer = await get(app, url)
      t.equal(readSource(answer), invalidated.includes(url) ? 'fwd=miss' : 'hit', `${what}: ${url}`)
      if (!invalidated.includes(url)) t.strictSame(answer.body, before.get(url)?.body)
      else if (url.includes('?') || url === LIST) t.not(answer.headers.etag, before.get(url)?.headers.etag, `${what}: ${url}`)
    }
  }
})

onEach('a write by another program invalidates entries before the next read', async (t, dialect) => {
  const app = await build(t, dialect)
  await fill(app)
  const other = await connect(t, app.config.DATABASE_URL)
  for (let price = 100; price < 110; price++) {
    for (const url of READ) await get(app, url)
    await other(`update products set price = ${price}00 where id = 1`)
    // PostgreSQL announces no such write, so it is seen at the next poll.
    while (dialect === postgres && (await get(app, `${LIST}1/`)).body.price !== `${price}.00`) {}
    for (const url of READ) {
      const { body } = await get(app, url)
      t.equal((body.results?.[0] ?? body).price, `${price}.00`, url)
    }
  }
})

onEach('equivalent queries share one entry, and failed requests are not cached', async (t, dialect) => {
  const app = await build(t, dialect)
  await fill(app)
  const same = [
    '?brand=Acme&price__gte=1&ordering=name',
    '?ordering=name&price__gte=1&brand=Acme',
    '?price__gte=1.00&brand=%41cme&ordering=name',
    '?brand=Acme&price__gte=01&ordering=name&page=1&page_size=20&search=&count=bounded',
    '?brand=%20Acme&price__gte=1&ordering=name',
  ]
  for (const [index, query] of same.entries()) t.equal(readSource(await get(app, LIST + query)), index === 0 ? 'fwd=miss' : 'hit', query)
  const lenient = await ask(app, 'GET', `${LIST}${same[1]}&utm_source=x`, undefined, { prefer: 'handling=lenient' })
  t.equal(readSource(lenient), 'hit', 'an ignored unknown parameter makes no separate entry')
  t.equal(readSource(await get(app, `${LIST}?utm_source=x`)), undefined, 'a refused one makes none either')
  for (const url of [`${LIST}?page=9`, `${LIST}99/`, `${LIST}99/cached_detail/`, `${LIST}?x=1`]) {
    const answers = [await get(app, url), await get(app, url)]
    for (const { headers, status } of answers)
      t.strictSame([headers['cache-control'], headers['cache-status'], status >= 400], ['no-store', undefined, true], url)
  }
  const others = [
    '?brand=Acme',
    '?brand=Acme&page_size=2',
    '?brand=Acme&page_size=2&page=2',
    '?brand=acme',
    '?brand__iexact=acme',
    '?count=none',
    '?ordering=-id',
  ]
  for (const query of others) t.equal(readSource(await get(app, LIST + query)), 'fwd=miss', query)
})

onEach('cached answers link to the origin of the request', async (t, dialect) => {
  const app = await build(t, dialect)
  await fill(app)
  for (const round of ['miss', 'hit']) {
    for (const host of ['a.test', 'b.test:8080']) {
      const { body, headers } = await ask(app, 'GET', `${LIST}?page_size=1`, undefined, { host })
      t.match(body.next, new RegExp(`^http://${host}/`), round)
      t.match(headers.link, new RegExp(`<http://${host}/`), round)
    }
  }
})

onEach('a client without permission gets nothing from the cache and learns nothing of its contents', async (t, dialect) => {
  const app = await build(t, dialect, { env: { REQUIRE_KEY_TO_READ: 'true' } })
  await fill(app)
  const { headers } = await get(app, LIST)
  t.equal(readSource(await get(app, LIST)), 'hit')
  const { token } = await issueKey(app.db, { name: 'Reader', role: 'read' }, COMMAND_LINE)
  const reads: unknown[] = []
  let clients = 0
  const spied = ['list', 'readRows', 'readState'] as const
  const callers: [string, Record<string, string>, number][] = [
    ['anonymous', {}, 401],
    ['with a key that is none', { authorization: 'Bearer stk_1_x' }, 401],
  ]
  for (const name of spied) watch(app, name, () => reads.push(name))
  const keys = [
    String(headers.etag),
    `"${LIST}"`,
    LIST,
    '*',
    `http://localhost:80${LIST}?`,
    'products 1',
    'explicit products cached_detail 1',
    'fastify-caching',
    '"x"',
  ]
  for (const [who, having, expected] of callers) {
    for (const url of [LIST, `${LIST}1/`, `${LIST}1/cached_detail/`, '/api/keys/']) {
      for (const key of keys) {
        // Each request has another address, since tries of keys are limited by address.
        const answer = await app.inject({ url, headers: { ...having, 'if-none-match': key }, remoteAddress: `10.0.0.${++clients}` })
        t.equal(answer.statusCode, expected, `${who} ${url} ${key}`)
        t.equal(answer.headers['cache-status'], undefined)
        t.equal(answer.headers['cache-control'], 'no-store')
      }
    }
  }
  t.strictSame(reads, [], 'the database was not read')
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'] as const)
    t.equal((await app.inject({ method, url: LIST, headers: { 'if-none-match': String(headers.etag) } })).statusCode >= 400, true, method)
  const forbidden = await app.inject({ url: '/api/keys/', headers: { authorization: `Bearer ${token}`, 'if-none-match': '*' } })
  t.equal(forbidden.statusCode, 403)
})

onEach('cache hits count against the rate limit', async (t, dialect) => {
  const app = await build(t, dialect, { env: { RATE_LIMIT_ANONYMOUS: '5' } })
  await fill(app)
  const statuses: number[] = []
  for (let n = 0; n < 7; n++)
    statuses.push((await app.inject({ url: LIST, ...(n % 2 && { headers: { 'if-none-match': '*' } }) })).statusCode)
  t.strictSame(statuses, [200, 304, 200, 304, 200, 429, 429])
})

t.test('Cache-Control depends on the key and the configuration', async (t) => {
  const rows: [env: Record<string, string>, anonymous: string, withKey: string][] = [
    [{}, 'public, max-age=0, must-revalidate', 'private, max-age=0, must-revalidate'],
    [{ CACHE_TTL: '0' }, 'public, max-age=0, must-revalidate', 'private, max-age=0, must-revalidate'],
    [
      { CACHE_SHARED_MAX_AGE: '30', PUBLIC_URL: 'https://api.example.com' },
      'public, max-age=0, s-maxage=30, stale-while-revalidate=30',
      'private, max-age=0, must-revalidate',
    ],
  ]
  for (const [env, anonymous, withKey] of rows) {
    const app = await build(t, embedded, { env })
    await fill(app)
    for (const url of [...READ, '/openapi.json', '/api/']) {
      for (const conditions of [{}, { 'if-none-match': '*' }]) {
        const control = async (headers: Record<string, string>) =>
          (await app.inject({ url, headers: { ...headers, ...conditions } })).headers['cache-control']
        t.equal(await control({}), anonymous, url)
        t.equal(await control(authorization(app)), withKey, url)
      }
    }
    const others: InjectOptions[] = [
      { method: 'POST', url: LIST, payload: { name: 'a', price: 1 }, headers: authorization(app) },
      { method: 'POST', url: LIST, payload: {}, headers: authorization(app) },
      { method: 'PATCH', url: `${LIST}1/`, payload: {}, headers: authorization(app) },
      { method: 'DELETE', url: `${LIST}1/`, headers: authorization(app) },
      { method: 'OPTIONS', url: LIST },
      { url: '/api/keys/' },
      { url: '/nothing' },
      { url: '/livez' },
      { url: '/readyz' },
    ]
    for (const other of others) t.equal((await app.inject(other)).headers['cache-control'], 'no-store', `${other.method} ${other.url}`)
  }
})

onEach('CACHE_TTL=0 disables the cache but not entity tags', async (t, dialect) => {
  const app = await build(t, dialect, { env: { CACHE_TTL: '0' } })
  await fill(app)
  for (const url of READ) {
    const [first, again] = [await get(app, url), await get(app, url)]
    t.strictSame([readSource(first), readSource(again)], ['fwd=bypass', 'fwd=bypass'], url)
    t.equal(again.headers.etag, first.headers.etag)
    t.equal((await ask(app, 'GET', url, undefined, { 'if-none-match': String(first.headers.etag) })).status, 304, url)
  }
})

onEach('concurrent requests for a list read it once', async (t, dialect) => {
  const app = await build(t, dialect)
  await fill(app)
  for (const [name, url] of [
    ['list', `${LIST}?brand=Acme&ordering=-price`],
    ['readRows', `${LIST}2/`],
  ] as const) {
    let reads = 0
    const unwatch = watch(app, name, () => reads++)
    const anonymous = () => app.inject({ url })
    const answers = await Promise.all(Array.from({ length: 500 }, anonymous))
    t.equal(reads, 1, url)
    t.strictSame(new Set(answers.map(({ statusCode, body }) => `${statusCode} ${body}`)).size, 1)
    const sources = Object.groupBy(answers, ({ headers }) => String(headers['cache-status']).split('; ').at(-1) ?? '')
    t.equal(sources.stored?.length, 1)
    unwatch()
  }
})

onEach('a read that began before a write is not shared with requests after it', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const answers = new ResponseCache(db, new MemoryStore(1_000_000), 60_000)
  const subject = { key: 'a list', tables: ['products'] } as const
  const older = Promise.withResolvers<void>()
  const reading = (body: string, until?: Promise<void>) => async () => {
    await until
    return { state: body, tag: body, headers: {}, body }
  }
  const before = answers.getOrRender(subject, 'before', reading('before', older.promise))
  const after = answers.getOrRender(subject, 'after', reading('after'))
  older.resolve()
  const readResult = async (result: typeof before) => {
    const { entry, source } = await result
    return [String(entry.body), source]
  }
  t.strictSame(await readResult(before), ['before', 'stored'])
  t.strictSame(await readResult(after), ['after', 'stored'])
})

onEach('a failed read is not cached, and the next request reads again', async (t, dialect) => {
  const app = await build(t, dialect)
  await fill(app)
  const real = app.db.list
  Object.assign(app.db, { list: () => Promise.reject(new Error('broken')) })
  const answers = await Promise.all([get(app, LIST), get(app, LIST)])
  t.strictSame(
    answers.map(({ status, headers }) => [status, headers['cache-control'], headers['cache-status']]),
    [
      [500, 'no-store', undefined],
      [500, 'no-store', undefined],
    ],
  )
  Object.assign(app.db, { list: real })
  t.match(await get(app, LIST), { status: 200, body: { count: 3 } })
})

onEachStore('large answers are compressed on request, with an entity tag for each coding', async (t, dialect, env) => {
  const app = await build(t, dialect, { env })
  await fill(app)
  await ask(app, 'PATCH', `${LIST}1/`, { description: 'long '.repeat(1_000) })
  const rows: [accepts: string | undefined, coding: string | undefined][] = [
    [undefined, undefined],
    ['', undefined],
    ['identity', undefined],
    ['deflate', undefined],
    ['gzip', 'gzip'],
    ['br', 'br'],
    ['gzip, deflate, br, zstd', 'br'],
    ['br;q=0.5, gzip', 'gzip'],
    ['gzip;q=0, br;q=0', undefined],
    ['*', 'br'],
    ['identity, gzip;q=0.5', undefined],
  ]
  for (const url of [LIST, `${LIST}1/`, `${LIST}1/cached_detail/`, '/openapi.json']) {
    const plain = await app.inject({ url })
    const tags = new Map<string | undefined, unknown>()
    for (const round of [1, 2]) {
      for (const [accepts, coding] of rows) {
        const title = `${url} ${accepts}, ${round}`
        const answer = await app.inject({ url, headers: accepts === undefined ? {} : { 'accept-encoding': accepts } })
        const bytes = answer.rawPayload
        const body = coding === 'br' ? brotliDecompressSync(bytes) : coding === 'gzip' ? gunzipSync(bytes) : bytes
        t.equal(answer.headers['content-encoding'], coding, title)
        t.equal(String(body), plain.body, title)
        t.equal(Number(answer.headers['content-length']), bytes.length, title)
        t.equal(answer.headers.vary, 'Prefer, Accept-Encoding', title)
        t.equal(tags.get(coding) ?? answer.headers.etag, answer.headers.etag, title)
        tags.set(coding, answer.headers.etag)
        const head = await app.inject({ method: 'HEAD', url, headers: accepts === undefined ? {} : { 'accept-encoding': accepts } })
        t.strictSame(
          [head.headers.etag, head.headers['content-length'], head.body],
          [answer.headers.etag, answer.headers['content-length'], ''],
          title,
        )
      }
    }
    t.equal(new Set(tags.values()).size, 3, `${url}: ${[...tags.values()]}`)
    for (const [coding, tag] of tags) {
      const { statusCode, headers } = await app.inject({ url, headers: { 'if-none-match': String(tag), 'accept-encoding': 'gzip' } })
      t.strictSame([statusCode, headers.etag], [304, tag], `${url}: a tag of ${coding} holds in requests for other codings`)
    }
  }
  const small = await app.inject({ url: `${LIST}3/`, headers: { 'accept-encoding': 'br' } })
  t.equal(small.headers['content-encoding'], undefined, 'a small answer is not compressed')
})

t.test('entity tags are never reused for other content after a restore from backup', async (t) => {
  const url = await embedded.create(t)
  const file = url.slice('file:'.length)
  const opened = () => build(t, embedded, { env: { DATABASE_URL: url } })
  const first = await opened()
  await ask(first, 'POST', LIST, { name: 'A', price: 1 })
  await first.close()
  await copyFile(file, `${file}.backup`)
  const tags = new Set<unknown>()
  for (let round = 0; round < 5; round++) {
    await copyFile(`${file}.backup`, file)
    const app = await opened()
    await ask(app, 'PATCH', `${LIST}1/`, { stock: round + 1 })
    for (const path of [LIST, `${LIST}1/`, `${LIST}?category__slug=x`]) {
      const { headers } = await get(app, path)
      t.notOk(tags.has(headers.etag), `${path} ${headers.etag}`)
      tags.add(headers.etag)
    }
    await app.close()
  }
})

t.test('the size of the cache is limited in bytes', async (t) => {
  const app = await build(t, embedded, { env: { CACHE_MAX_BYTES: '65536' } })
  await fill(app)
  for (let n = 0; n < 300; n++) t.match((await get(app, `${LIST}?price__gte=${n}`)).headers['cache-status'], /; stored$/)
  t.equal(readSource(await get(app, `${LIST}?price__gte=299`)), 'hit', 'the last answer is cached')
  t.equal(readSource(await get(app, `${LIST}?price__gte=0`)), 'fwd=miss', 'the first answer is evicted')
  await ask(app, 'PATCH', `${LIST}1/`, { description: 'x'.repeat(9_900) })
  const large = await get(app, LIST)
  t.equal(large.headers['cache-status'], 'stockroom; fwd=miss', 'an answer too large for the cache is not stored')
})
