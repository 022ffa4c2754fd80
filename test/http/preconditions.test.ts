// Conditional requests by RFC 9110, section 13. Each row is a request to an existing product with the expected status.
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { findMatchingTag, readPreconditions } from '../../src/http/preconditions.ts'
import type { App } from '../../src/http/routes.ts'
import { type Answer, ask, build, get, onEach } from '../helper.ts'

// Most of each test is waiting.
t.jobs = 2

const LIST = '/api/products/'
const shirt = { name: 'Shirt', price: '29.90', sku: 'A' }

interface ProductState {
  /** Entity tags as in headers. */
  current: string
  /** The tag of the previous state. */
  old: string
  list: string
  /** HTTP dates a second before the last change, at it, and a minute after it. */
  before: string
  at: string
  after: string
}

type Method = 'GET' | 'HEAD' | 'PUT' | 'PATCH' | 'DELETE' | 'POST'
type Conditions = (now: ProductState) => Record<string, string>
type Row = [what: string, method: Method, of: 'record' | 'list' | 'absent' | 'stock' | 'bulk', conditions: Conditions, status: number]

const rows: Row[] = [
  // If-None-Match on reads: the weak comparison (13.1.2).
  ['the current tag', 'GET', 'record', ({ current }) => ({ 'if-none-match': current }), 304],
  ['the current tag by HEAD', 'HEAD', 'record', ({ current }) => ({ 'if-none-match': current }), 304],
  ['the current tag, marked weak', 'GET', 'record', ({ current }) => ({ 'if-none-match': `W/${current}` }), 304],
  ['among several tags', 'GET', 'record', ({ current }) => ({ 'if-none-match': `"x", W/"y" ,${current}` }), 304],
  ['after a tag with a comma', 'GET', 'record', ({ current }) => ({ 'if-none-match': `"a,b", ${current}` }), 304],
  ['in another coding', 'GET', 'record', ({ current }) => ({ 'if-none-match': current.replace(/"$/, '.br"') }), 304],
  ['any tag', 'GET', 'record', () => ({ 'if-none-match': '*' }), 304],
  ['the previous tag', 'GET', 'record', ({ old }) => ({ 'if-none-match': old }), 200],
  ['a tag without quotes', 'GET', 'record', ({ current }) => ({ 'if-none-match': current.replaceAll('"', '') }), 200],
  ['the start of the tag', 'GET', 'record', ({ current }) => ({ 'if-none-match': current.replace(/..$/, '"') }), 200],
  ['the tag of a list', 'GET', 'record', ({ list }) => ({ 'if-none-match': list }), 200],
  ['the current tag', 'GET', 'list', ({ list }) => ({ 'if-none-match': list }), 304],
  ['the current tag, marked weak', 'HEAD', 'list', ({ list }) => ({ 'if-none-match': `W/${list}` }), 304],
  ['in another coding', 'GET', 'list', ({ list }) => ({ 'if-none-match': list.replace(/"$/, '.gz"') }), 304],
  ['with the limit of its count', 'GET', 'list', ({ list }) => ({ 'if-none-match': list.replace(/"$/, '.~17"') }), 304],
  ['another tag', 'GET', 'list', ({ current }) => ({ 'if-none-match': current }), 200],
  ['any tag', 'GET', 'list', () => ({ 'if-none-match': '*' }), 304],
  ['any tag, of no record', 'GET', 'absent', () => ({ 'if-none-match': '*' }), 404],
  // If-Modified-Since counts only without If-None-Match (13.1.3).
  ['not changed since', 'GET', 'record', ({ at }) => ({ 'if-modified-since': at }), 304],
  ['not changed since later', 'GET', 'record', ({ after }) => ({ 'if-modified-since': after }), 304],
  ['changed since', 'GET', 'record', ({ before }) => ({ 'if-modified-since': before }), 200],
  ['a malformed date', 'GET', 'record', () => ({ 'if-modified-since': 'yesterday' }), 200],
  ['a date as C writes it, later', 'GET', 'record', ({ after }) => ({ 'if-modified-since': asctime(after) }), 304],
  ['a date as C writes it, before', 'GET', 'record', ({ before }) => ({ 'if-modified-since': asctime(before) }), 200],
  ['something like a date', 'GET', 'record', () => ({ 'if-modified-since': 'Never 2099' }), 200],
  ['a date as RFC 850 had it', 'GET', 'record', () => ({ 'if-modified-since': 'Sunday, 06-Nov-94 08:49:37 GMT' }), 200],
  ['a list has no date', 'GET', 'list', ({ after }) => ({ 'if-modified-since': after }), 200],
  ['the tag takes precedence', 'GET', 'record', ({ old, after }) => ({ 'if-none-match': old, 'if-modified-since': after }), 200],
  ['the tag takes precedence', 'GET', 'record', ({ current, before }) => ({ 'if-none-match': current, 'if-modified-since': before }), 304],
  // If-Match on reads (13.1.1).
  ['the current tag', 'GET', 'record', ({ current }) => ({ 'if-match': current }), 200],
  ['the previous tag', 'GET', 'record', ({ old }) => ({ 'if-match': old }), 412],
  ['both hold', 'GET', 'record', ({ current }) => ({ 'if-match': current, 'if-none-match': current }), 304],
  ['the first does not', 'GET', 'record', ({ current, old }) => ({ 'if-match': old, 'if-none-match': current }), 412],
  ['the previous tag', 'GET', 'list', ({ current }) => ({ 'if-match': current }), 412],
  ['the current tag', 'GET', 'list', ({ list }) => ({ 'if-match': list }), 200],
  ['any tag, of no record', 'GET', 'absent', () => ({ 'if-match': '*' }), 404],
  // If-Match on writes: the strong comparison.
  ['none', 'PATCH', 'record', () => ({}), 200],
  ['the current tag', 'PATCH', 'record', ({ current }) => ({ 'if-match': current }), 200],
  ['among several tags', 'PATCH', 'record', ({ current, old }) => ({ 'if-match': `${old}, ${current}` }), 200],
  ['in another coding', 'PATCH', 'record', ({ current }) => ({ 'if-match': current.replace(/"$/, '.gz"') }), 200],
  ['any tag', 'PATCH', 'record', () => ({ 'if-match': '*' }), 200],
  ['marked weak', 'PATCH', 'record', ({ current }) => ({ 'if-match': `W/${current}` }), 412],
  ['the previous tag', 'PATCH', 'record', ({ old }) => ({ 'if-match': old }), 412],
  ['the previous tag', 'PUT', 'record', ({ old }) => ({ 'if-match': old }), 412],
  ['the previous tag', 'DELETE', 'record', ({ old }) => ({ 'if-match': old }), 412],
  ['the previous tag', 'POST', 'stock', ({ old }) => ({ 'if-match': old }), 412],
  ['the current tag', 'PUT', 'record', ({ current }) => ({ 'if-match': current }), 200],
  ['the current tag', 'DELETE', 'record', ({ current }) => ({ 'if-match': current }), 204],
  ['the current tag', 'POST', 'stock', ({ current }) => ({ 'if-match': current }), 200],
  ['any tag, of no record', 'PATCH', 'absent', () => ({ 'if-match': '*' }), 404],
  ['a tag of no record', 'DELETE', 'absent', ({ current }) => ({ 'if-match': current }), 404],
  ['a URL of no record', 'POST', 'list', ({ list }) => ({ 'if-match': list }), 400],
  ['a URL of many records', 'POST', 'bulk', ({ current }) => ({ 'if-match': current }), 400],
  // Ignoring a malformed header would lose an update.
  ['no quotes', 'PATCH', 'record', ({ current }) => ({ 'if-match': current.replaceAll('"', '') }), 400],
  ['an open quote', 'PUT', 'record', ({ current }) => ({ 'if-match': current.replace(/"$/, '') }), 400],
  ['nothing at all', 'DELETE', 'record', () => ({ 'if-match': '' }), 400],
  ['a list and *', 'PATCH', 'record', ({ current }) => ({ 'if-match': `${current}, *` }), 400],
  // If-Unmodified-Since counts only without If-Match (13.1.4).
  ['not changed since', 'PATCH', 'record', ({ at }) => ({ 'if-unmodified-since': at }), 200],
  ['changed since', 'PATCH', 'record', ({ before }) => ({ 'if-unmodified-since': before }), 412],
  ['changed since', 'GET', 'record', ({ before }) => ({ 'if-unmodified-since': before }), 412],
  ['a malformed date', 'PATCH', 'record', () => ({ 'if-unmodified-since': '2026-01-01' }), 200],
  ['the tag takes precedence', 'PATCH', 'record', ({ current, before }) => ({ 'if-match': current, 'if-unmodified-since': before }), 200],
  ['the tag takes precedence', 'PATCH', 'record', ({ old, after }) => ({ 'if-match': old, 'if-unmodified-since': after }), 412],
  // If-None-Match on writes: no current state may match (13.1.2).
  ['no record may exist', 'PUT', 'record', () => ({ 'if-none-match': '*' }), 412],
  ['the current tag, which must differ', 'PATCH', 'record', ({ current }) => ({ 'if-none-match': current }), 412],
  ['an old tag, which differs', 'PATCH', 'record', ({ old }) => ({ 'if-none-match': old }), 200],
  ['both', 'PATCH', 'record', ({ current, old }) => ({ 'if-match': current, 'if-none-match': old }), 200],
  ['the second does not hold', 'PATCH', 'record', ({ current }) => ({ 'if-match': current, 'if-none-match': current }), 412],
  ['a date for reading only', 'PATCH', 'record', ({ after }) => ({ 'if-modified-since': after }), 200],
]

const SECOND = 1_000

/** Formats a date in the third form of RFC 9110, section 5.6.7. */
function asctime(date: string): string {
  const [, day, number = '', month, year, time] = /^(\w+), (\d+) (\w+) (\d+) (\S+) GMT$/.exec(date) ?? []
  return `${day} ${month} ${String(Number(number)).padStart(2)} ${time} ${year}`
}

async function prepare(app: App): Promise<ProductState & { id: number }> {
  const { body, headers } = await ask(app, 'POST', LIST, shirt)
  const changed = await ask(app, 'PATCH', `${LIST}${body.id}/`, { stock: 1 })
  const time = Date.parse(changed.body.updated_at)
  const date = (offset: number) => new Date(time + offset).toUTCString()
  return {
    id: body.id,
    current: String(changed.headers.etag),
    old: String(headers.etag),
    list: String((await get(app, LIST)).headers.etag),
    before: date(-SECOND),
    at: String(changed.headers['last-modified']),
    after: date(60 * SECOND),
  }
}

const bodies: Partial<Record<Method, object>> = {
  PUT: { name: 'Coat', price: 5 },
  PATCH: { price: '5.00' },
  POST: { delta: 1, reason: 'came' },
}

onEach('conditional requests have the statuses of RFC 9110', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const [what, method, of, conditions, expected] of rows) {
    const now = await prepare(app)
    const url = {
      record: `${LIST}${now.id}/`,
      list: LIST,
      absent: `${LIST}999999/`,
      stock: `${LIST}${now.id}/stock/`,
      bulk: `${LIST}bulk/`,
    }[of]
    const headers = conditions(now)
    // Another change may follow within the same second, so dates count only after it.
    if (headers['if-modified-since']) while (Date.now() < Date.parse(now.at) + SECOND) await setTimeout(10)
    const title = `${method} ${of}: ${what} ${Object.keys(headers)}`
    const answer = await ask(app, method, url, of === 'list' && method === 'POST' ? shirt : bodies[method], headers)
    t.equal(answer.status, expected, title)
    await check[expected]?.(t, app, answer, now, title)
    if (method !== 'DELETE' || expected !== 204) await ask(app, 'DELETE', `${LIST}${now.id}/`)
  }
})

/** Further checks of an answer, by its status. */
const check: Record<number, (t: Test, app: App, answer: Answer, now: ProductState & { id: number }, title: string) => Promise<void>> = {
  304: async (t, _app, { headers, body }, _now, title) => {
    t.equal(body, undefined, title)
    t.equal(headers['content-length'], undefined, title)
    t.match(headers.etag, /^"[^"]+"$/, title)
    t.match(headers['cache-control'], /^private, max-age=0, must-revalidate$/, title)
    t.equal(headers.vary, 'Prefer, Accept-Encoding', title)
    t.notOk(headers['content-type'] ?? headers['content-encoding'], title)
  },
  412: async (t, app, { headers, body }, { id, current, list }, title) => {
    t.equal(body.code, 'precondition-failed', title)
    t.ok([current, list].includes(String(headers.etag)), `${title}: the current tag`)
    t.match((await get(app, `${LIST}${id}/`)).body, { ...shirt, stock: 1, version: 2 }, `${title}: nothing changed`)
  },
  404: async (t, _app, { body }, _now, title) => void t.equal(body.code, 'not-found', title),
  400: async (t, app, { body }, { id }, title) => {
    t.equal(body.code, 'malformed-request', title)
    t.match((await get(app, `${LIST}${id}/`)).body, { ...shirt, stock: 1, version: 2 }, `${title}: nothing changed`)
  },
}

onEach('a record has the same tag in every answer and a new tag after each change', async (t, dialect) => {
  const app = await build(t, dialect)
  const product = await ask(app, 'POST', LIST, shirt)
  const url = `${LIST}${product.body.id}/`
  const tags = new Set<unknown>()
  const checkTag = async (answer: Answer, title: string) => {
    const read = await get(app, url)
    t.equal(answer.headers.etag, read.headers.etag, title)
    t.equal(answer.headers['last-modified'], read.headers['last-modified'], title)
    t.equal((await get(app, `${url}cached_detail/`)).headers.etag, read.headers.etag, title)
    t.notOk(tags.has(read.headers.etag), `${title}: a new tag`)
    tags.add(read.headers.etag)
  }
  await checkTag(product, 'made')
  await checkTag(await ask(app, 'PATCH', url, { price: '1', category: null }), 'changed')
  await checkTag(await ask(app, 'PATCH', url, { price: '29.90' }), 'changed back')
  await checkTag(await ask(app, 'POST', `${url}stock/`, { delta: 3, reason: 'came' }), 'more in stock')
  const bulk = await ask(app, 'POST', `${LIST}bulk/`, { operations: [{ op: 'update', id: product.body.id, body: { brand: 'Acme' } }] })
  t.equal(bulk.body.results[0].etag, (await get(app, url)).headers.etag, 'in a bulk result')

  const replaced = await ask(app, 'PUT', url, { name: 'Coat', price: 5 })
  t.equal(replaced.headers.etag, undefined, 'PUT answers without a tag, since the record differs from what was sent (9.3.4)')
  t.equal(replaced.headers['last-modified'], undefined)
  const unchanged = await ask(app, 'PATCH', url, { price: 5 })
  t.equal(unchanged.headers.etag, (await get(app, url)).headers.etag)
})

onEach("a 304 has the tag of the client's representation", async (t, dialect) => {
  const app = await build(t, dialect, { env: { COUNT_LIMIT: '1000' } })
  await ask(app, 'POST', LIST, { ...shirt, description: 'long '.repeat(500) })
  await ask(app, 'POST', LIST, { name: 'Short', price: 1 })
  const operations = Array.from({ length: 1_000 }, (_, n) => ({ op: 'create', body: { name: `Many ${n}`, price: n, brand: 'Many' } }))
  for (const _ of [1, 2]) t.equal((await ask(app, 'POST', `${LIST}bulk/`, { operations })).status, 200)
  for (const url of [`${LIST}1/`, `${LIST}2/`, LIST, `${LIST}?brand=Many`, '/openapi.json', '/api/']) {
    for (const method of ['GET', 'HEAD'] as const) {
      for (const coding of ['identity', 'gzip', 'br']) {
        const accept = { 'accept-encoding': coding }
        const whole = await app.inject({ method, url, headers: accept })
        t.match(whole.headers.etag, /^"[\w.~-]+"$/, `${url} ${coding}`)
        t.notMatch(whole.headers.etag, /undefined/)
        const etag = String(whole.headers.etag)
        for (const condition of [etag, `W/${etag}`, `"x", ${etag}`]) {
          const { statusCode, headers } = await app.inject({ method, url, headers: { ...accept, 'if-none-match': condition } })
          t.strictSame([statusCode, headers.etag], [304, etag], `${method} ${url} ${coding}`)
        }
        const any = await app.inject({ method, url, headers: { ...accept, 'if-none-match': '*' } })
        t.strictSame(
          [any.statusCode, any.headers.etag, any.headers['content-length']],
          [304, etag, undefined],
          `${method} ${url} ${coding}`,
        )
      }
    }
  }
  t.match((await get(app, `${LIST}?brand=Many`)).headers.etag, /\.~1000"$/, 'the count was cut off')
})

onEach('If-Modified-Since does not answer 304 within the second of a change', async (t, dialect) => {
  const app = await build(t, dialect)
  const { body } = await ask(app, 'POST', LIST, shirt)
  const url = `${LIST}${body.id}/`
  const before = await get(app, url)
  await ask(app, 'PATCH', url, { stock: 1 })
  const { status, body: now } = await ask(app, 'GET', url, undefined, { 'if-modified-since': String(before.headers['last-modified']) })
  t.ok(status === 200 && now.stock === 1)
})

onEach('REQUIRE_IF_MATCH refuses changes without If-Match', async (t, dialect) => {
  const app = await build(t, dialect, { env: { REQUIRE_IF_MATCH: 'true' } })
  const { body, headers } = await ask(app, 'POST', LIST, shirt)
  const url = `${LIST}${body.id}/`
  for (const [method, payload] of [
    ['PUT', { name: 'Coat', price: 5 }],
    ['PATCH', { price: 5 }],
    ['DELETE', undefined],
  ] as const) {
    const without: Record<string, string>[] = [{}, { 'if-unmodified-since': String(headers['last-modified']) }, { 'if-none-match': '"x"' }]
    for (const having of without)
      t.match(await ask(app, method, url, payload, having), { status: 428, body: { code: 'precondition-required' } }, method)
    t.equal((await ask(app, method, `${LIST}99/`, payload)).status, 404, 'a missing record is reported first')
  }
  t.equal((await ask(app, 'PATCH', url, { nonsense: 1 })).status, 400, 'faults of the body are reported first')
  t.strictSame((await get(app, url)).body, body)
  t.equal((await ask(app, 'PATCH', url, { price: 5 }, { 'if-match': String(headers.etag) })).status, 200)
  t.equal((await ask(app, 'PATCH', url, { price: 6 }, { 'if-match': '*' })).status, 200, 'If-Match: * is explicit')
  t.equal(
    (await ask(app, 'POST', `${url}stock/`, { delta: 1, reason: 'came' })).status,
    200,
    'a change that depends on no state needs no If-Match',
  )
  t.equal((await ask(app, 'DELETE', '/api/keys/1/')).status, 428)

  const operations = [
    { op: 'update', id: body.id, body: { price: 7 } },
    { op: 'upsert', body: { sku: 'A', price: 7 } },
    { op: 'delete', id: body.id },
    { op: 'create', body: { name: 'Hat', price: 1 } },
  ]
  const { body: many } = await ask(app, 'POST', `${LIST}bulk/`, { operations, atomic: false })
  t.strictSame(
    many.results.map(({ status }: { status: number }) => status),
    [428, 428, 428, 201],
    'each bulk operation needs if_match',
  )
})

t.test('entity tags are parsed by the grammar of RFC 9110', async (t) => {
  const matches = (header: string, tag: string) => findMatchingTag({ 'if-none-match': header }, tag) === tag
  for (const header of ['"a"', 'W/"a"', ' "a" ', '"b","a"', '"b", "a"', '"b" ,, "a",', '"",\t"a"']) t.ok(matches(header, 'a'), header)
  for (const header of ['', '"b"', 'a', '"a', 'w/"a"', '"a" b', '*a', '"a";q=1', `"${'a'.repeat(9_000)}`, '"'.repeat(9_001)])
    t.notOk(matches(header, 'a'), header)
  t.equal(readPreconditions({ accept: '*/*' }), undefined)
})
