// Unknown parameters are refused or, at the request of the client or the configuration, ignored (RFC 7240, `handling`).
import t from 'tap'
import type { App } from '../../src/http/routes.ts'
import type { Dialect } from '../dialects.ts'
import { ask, build, onEach, withoutCursor } from '../helper.ts'

const LIST = '/api/products/'
const ROWS = 120

const apps = new Map<string, Promise<App>>()

/** Returns one application per database and handling, since these tests only read. */
function openFilled(dialect: Dialect, handling: string): Promise<App> {
  const key = `${dialect.name} ${handling}`
  const app = apps.get(key) ?? build(t, dialect, { env: { QUERY_HANDLING: handling } }).then(fill)
  apps.set(key, app)
  return app
}

async function fill(app: App): Promise<App> {
  const { products } = app.db.tables
  const now = new Date().toISOString()
  const rows = Array.from({ length: ROWS }, (_, index) => ({
    ...{ name: `shirt ${index}`, price: '1', stock: index % 3, brand: index % 2 === 0 ? 'Acme' : '' },
    ...{ created_at: now, updated_at: now },
  }))
  await app.db.write((tx) => tx.insert(products).values(rows))
  return app
}

const readList = (app: App, query: string, prefer?: string) =>
  ask(app, 'GET', `${LIST}?${query}`, undefined, prefer === undefined ? {} : { prefer })

type Handling = 'strict' | 'lenient'

/** Prefer headers with the handling that they request. */
const HEADERS: [prefer: string | undefined, states: Handling | undefined][] = [
  [undefined, undefined],
  ['', undefined],
  ['handling=lenient', 'lenient'],
  ['handling=strict', 'strict'],
  ['Handling=Lenient', 'lenient'],
  ['HANDLING=STRICT', 'strict'],
  ['handling="lenient"', 'lenient'],
  ['handling="strict"', 'strict'],
  ['handling = lenient', 'lenient'],
  ['  handling=lenient  ', 'lenient'],
  ['handling=lenient;', 'lenient'],
  ['handling=lenient; why=none', 'lenient'],
  ['handling=lenient ;why="a, b"', 'lenient'],
  ['respond-async, handling=lenient', 'lenient'],
  ['respond-async,handling=lenient,wait=10', 'lenient'],
  ['return=minimal; foo="some, parameter", handling=strict', 'strict'],
  [', ,handling=lenient', 'lenient'],
  ['handling=lenient, handling=strict', 'lenient'],
  ['handling=strict, handling=lenient', 'strict'],
  ['handling=loose, handling=lenient', undefined],
  ['handling, handling=lenient', undefined],
  ['handling', undefined],
  ['handling=', undefined],
  ['handling=""', undefined],
  ['handling=loose', undefined],
  ['handling=lenientish', undefined],
  ['handling=lenient strict', undefined],
  ['xhandling=lenient', undefined],
  ['x-handling=lenient', undefined],
  ['lenient', undefined],
  ['return=handling=lenient', undefined],
  ['why="x, handling=lenient"', undefined],
  ['why="x, handling=lenient, y", handling=strict', 'strict'],
  ['why="\\", handling=lenient, \\""', undefined],
  ['return=minimal; handling=lenient', undefined],
]

onEach('the handling of the request takes precedence over the configured one', async (t, dialect) => {
  for (const configured of ['strict', 'lenient'] as const) {
    const app = await openFilled(dialect, configured)
    for (const [prefer, states] of HEADERS) {
      const { status, headers } = await readList(app, 'colour=red', prefer)
      t.strictSame(
        { status, applied: headers['preference-applied'] },
        { status: (states ?? configured) === 'lenient' ? 200 : 400, applied: states && `handling=${states}` },
        `${prefer ?? 'no preference'}, ${configured} otherwise`,
      )
    }
  }
})

onEach('several Prefer headers are read as one', async (t, dialect) => {
  const app = await openFilled(dialect, 'strict')
  const headers = { prefer: ['respond-async', 'handling=lenient'] }
  const { statusCode } = await app.inject({ url: `${LIST}?colour=red`, headers })
  t.equal(statusCode, 200)
})

onEach('Preference-Applied is sent for queries without unknown parameters, too', async (t, dialect) => {
  for (const configured of ['strict', 'lenient']) {
    const app = await openFilled(dialect, configured)
    for (const handling of ['strict', 'lenient']) {
      const answer = await readList(app, 'stock=1', `handling=${handling}`)
      t.match(answer, { status: 200, body: { count: 40 }, headers: { 'preference-applied': `handling=${handling}` } })
      const refused = await readList(app, 'stock=x', `handling=${handling}`)
      t.match(refused, { status: 400, headers: { 'preference-applied': `handling=${handling}` } }, 'also with a refusal')
    }
  }
})

onEach('lists vary by Prefer', async (t, dialect) => {
  for (const configured of ['strict', 'lenient']) {
    const app = await openFilled(dialect, configured)
    for (const query of ['', 'stock=1', 'stock=1&page=2', 'page=last']) {
      for (const prefer of [undefined, 'handling=lenient', 'respond-async']) {
        const { headers } = await readList(app, query, prefer)
        t.equal(headers.vary, 'Prefer, Accept-Encoding', `${query || 'no query'}, ${configured}`)
      }
    }
  }
})

const URL = 'http://localhost:80/api/products/'

/** Queries refused by strict handling, an equivalent query, and the link to the second page. */
const IGNORED: [query: string, same: string, next: string][] = [
  ['colour=red', '', '?page=2'],
  ['colour=', '', '?page=2'],
  ['colour', '', '?page=2'],
  ['=', '', '?page=2'],
  ['colour=red&colour=blue', '', '?page=2'],
  ['Stock=1', '', '?page=2'],
  ['stock__foo=1', '', '?page=2'],
  ['stock__icontains=1', '', '?page=2'],
  ['description=x', '', '?page=2'],
  ['format=json&utm_source=mail', '', '?page=2'],
  ['limit=5&offset=10', '', '?page=2'],
  ['__proto__=1&constructor=2&toString=3', '', '?page=2'],
  ['colour=red&stock__gte=0&x=%F0%9F%91%95', 'stock__gte=0', '?page=2&stock__gte=0'],
  ['brand=Acme&colour=red', 'brand=Acme', '?brand=Acme&page=2'],
  ['ordering=colour', '', '?page=2'],
  ['ordering=-colour', '', '?page=2'],
  ['ordering=description', '', '?page=2'],
  ['ordering=colour,size', '', '?page=2'],
  ['ordering=colour,-stock', 'ordering=-stock', '?ordering=-stock&page=2'],
  ['ordering=-stock,colour', 'ordering=-stock', '?ordering=-stock&page=2'],
  ['ordering=stock,colour,-name,-size', 'ordering=stock,-name', '?ordering=stock%2C-name&page=2'],
  ['ordering=--stock', '', '?page=2'],
  ['ordering=Stock', '', '?page=2'],
  ['ordering=id,colour', '', '?page=2'],
  ['ordering=colour,colour,brand', 'ordering=brand', '?ordering=brand&page=2'],
  ['ordering=a,b,c,d,e,f,brand', 'ordering=brand', '?ordering=brand&page=2'],
  ['page_size=101', 'page_size=100', '?page=2&page_size=100'],
  ['page_size=1000', 'page_size=100', '?page=2&page_size=100'],
  ['page_size=0101', 'page_size=100', '?page=2&page_size=100'],
  [`page_size=${'9'.repeat(30)}`, 'page_size=100', '?page=2&page_size=100'],
  ['page_size=500&colour=red&ordering=size,-name', 'page_size=100&ordering=-name', '?ordering=-name&page=2&page_size=100'],
]

onEach('ignored parameters have no effect and do not appear in links', async (t, dialect) => {
  const [strict, lenient] = [await openFilled(dialect, 'strict'), await openFilled(dialect, 'lenient')]
  for (const [query, same, next] of IGNORED) {
    const refused = await readList(strict, query)
    t.match({ status: refused.status, code: refused.body.code }, { status: 400, code: 'invalid-request' }, `${query} is refused`)
    const { body } = await readList(strict, same)
    for (const answer of [await readList(strict, query, 'handling=lenient'), await readList(lenient, query)]) {
      t.equal(answer.status, 200, query)
      if (answer.status !== 200) continue
      const ids = ({ results }: { results: { id: number }[] }) => results.map(({ id }) => id)
      t.strictSame({ count: answer.body.count, ids: ids(answer.body) }, { count: body.count, ids: ids(body) }, query)
      t.equal(withoutCursor(answer.body.next), `${URL}${next}`, `the next link of ${query}`)
      t.notMatch(answer.headers.link, /colour|size=[^1]|=10[1-9]/, `the Link header of ${query}`)
    }
  }
})

onEach('links of a lenient answer hold in strict requests, and the reverse', async (t, dialect) => {
  const app = await openFilled(dialect, 'strict')
  const { body } = await readList(app, 'colour=red&ordering=size,-stock&page_size=10', 'handling=lenient')
  const second = await ask(app, 'GET', body.next)
  t.equal(second.status, 200)
  const again = await ask(app, 'GET', `${second.body.next}&colour=red`, undefined, { prefer: 'handling=lenient' })
  t.equal(again.status, 200)
  t.strictSame(again.body, (await ask(app, 'GET', second.body.next)).body)
})

const REFUSED: [query: string, ...parameters: string[]][] = [
  ['stock=x', 'stock'],
  ['price__gte=abc', 'price__gte'],
  ['price__range=1', 'price__range'],
  ['sku__isnull=maybe', 'sku__isnull'],
  ['created_at__gte=yesterday', 'created_at__gte'],
  ['stock=1&stock=2', 'stock'],
  ['ordering=stock&ordering=brand', 'ordering'],
  ['ordering=stock,stock', 'ordering'],
  ['ordering=stock,-stock,colour', 'ordering'],
  ['ordering=id,sku,name,price,stock,brand', 'ordering'],
  ['page=0', 'page'],
  ['page=-1', 'page'],
  ['page=1.5', 'page'],
  ['page=first', 'page'],
  ['page_size=0', 'page_size'],
  ['page_size=-1', 'page_size'],
  ['page_size=ten', 'page_size'],
  ['page_size=1.5', 'page_size'],
  ['page_size=1e3', 'page_size'],
  ['page_size=101&page_size=102', 'page_size'],
  ['count=maybe', 'count'],
  ['cursor=AAAA', 'cursor'],
  ['count=none&page=last', 'page'],
  [`search=${'x'.repeat(8_000)}`, 'search'],
  ['search=%FF', 'search'],
  ['stock=%', 'stock'],
  ['colour=red&stock=x&page=0', 'stock', 'page'],
  [`stock__in=${Array.from({ length: 101 }, (_, index) => index).join(',')}`, 'stock__in'],
]

onEach('lenient handling refuses all other faults', async (t, dialect) => {
  const [strict, lenient] = [await openFilled(dialect, 'strict'), await openFilled(dialect, 'lenient')]
  for (const [query, ...parameters] of REFUSED) {
    for (const { status, body } of [await readList(strict, query, 'handling=lenient'), await readList(lenient, query)]) {
      const parametersNamed = [...new Set(body.errors?.map(({ parameter }: { parameter: string }) => parameter))]
      t.strictSame(
        { status, code: body.code, parametersNamed },
        { status: 400, code: 'invalid-request', parametersNamed: parameters },
        query.slice(0, 60),
      )
    }
  }
  const past = await readList(lenient, 'page=99&page_size=1000')
  t.match({ status: past.status, code: past.body.code }, { status: 404, code: 'page-not-found' })
})

onEach('strict handling reports every fault to a client of a lenient service', async (t, dialect) => {
  const app = await openFilled(dialect, 'lenient')
  const { status, body } = await readList(app, 'colour=red&ordering=size&page_size=101', 'handling=strict')
  t.match(
    { status, errors: body.errors },
    { status: 400, errors: [{ parameter: 'colour' }, { parameter: 'ordering' }, { parameter: 'page_size' }] },
  )
})
