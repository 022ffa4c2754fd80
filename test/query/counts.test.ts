// Counts of lists: their limit, their effect on links and the last page, and how long they are remembered.
import { sql } from 'drizzle-orm'
import t, { type Test } from 'tap'
import type { App } from '../../src/http/routes.ts'
import { importProducts } from '../../src/transfer/import.ts'
import { connect, type Dialect, type Query } from '../dialects.ts'
import { ask, build, get, lines, onEach } from '../helper.ts'

const LIMIT = 1_000
const ROWS = 2_500
const URL = 'http://localhost:80/api/products/'

/** Fills the table: ids from 1 to ROWS, stocks from 0 to 9. */
async function fill(app: App): Promise<App> {
  const rows = Array.from({ length: ROWS }, (_, index) => ({ sku: `S-${index}`, name: `shirt ${index}`, price: '1', stock: index % 10 }))
  await importProducts(app.db, lines(rows))
  return app
}

/** Builds an application without a cache, so that every list is read. */
const buildFilled = (t: Test, dialect: Dialect): Promise<App> =>
  build(t, dialect, { env: { COUNT_LIMIT: String(LIMIT), CACHE_TTL: '0' } }).then(fill)

const apps = new Map<string, Promise<App>>()

/** Returns one application per database, for tests that only read. */
function openFilled(dialect: Dialect): Promise<App> {
  const app = apps.get(dialect.name) ?? buildFilled(t, dialect)
  apps.set(dialect.name, app)
  return app
}

const readCount = async (app: App, query: string) => {
  const { status, body } = await get(app, `/api/products/?${query}`)
  if (status !== 200) throw new Error(`${status} for ${query}: ${JSON.stringify(body)}`)
  const { count, count_exact } = body
  return 'count_exact' in body ? { count, count_exact } : { count }
}

/** Returns the target of a link relation in a Link header. */
const parseLink = (header: unknown, rel: string) => new RegExp(`<([^<>]*)>; rel="${rel}"`).exec(String(header))?.[1] ?? null

onEach('a count is exact up to the limit, exact on request, or absent', async (t, dialect) => {
  const app = await openFilled(dialect)
  const inexact = { count: LIMIT, count_exact: false }
  const rows: [query: string, bounded: object, exact: number][] = [
    ['', { count: ROWS }, ROWS],
    ['ordering=-stock,name', { count: ROWS }, ROWS],
    ['stock=', { count: ROWS }, ROWS],
    ['id__lt=1', { count: 0 }, 0],
    ['id=7', { count: 1 }, 1],
    ['stock=3', { count: 250 }, 250],
    [`id__lte=${LIMIT - 1}`, { count: LIMIT - 1 }, LIMIT - 1],
    [`id__lte=${LIMIT}`, { count: LIMIT }, LIMIT],
    [`id__lte=${LIMIT + 1}`, inexact, LIMIT + 1],
    ['id__lte=2001&ordering=-name', inexact, 2_001],
    ['stock__gte=0', inexact, ROWS],
    ['stock__gte=0&ordering=-sku,price', inexact, ROWS],
    ['stock__gte=1&id__gt=500', inexact, 1_800],
    ['stock__in=1,2,3', { count: 750 }, 750],
    ['stock__in=1,2,3,4,5', inexact, 1_250],
    ['search=shirt', inexact, ROWS],
    ['search=shirt+shi', inexact, ROWS],
    ['search=99', { count: 43 }, 43],
    ['brand!=Acme', inexact, ROWS],
    ['category__isnull=false', { count: 0 }, 0],
  ]
  for (const [query, bounded, exact] of rows) {
    // The second read may use a remembered count.
    for (const time of ['once', 'again']) {
      const counts = {
        default: await readCount(app, query),
        bounded: await readCount(app, `${query}&count=bounded`),
        exact: await readCount(app, `${query}&count=exact`),
        none: await readCount(app, `${query}&count=none`),
      }
      t.strictSame(counts, { default: bounded, bounded, exact: { count: exact }, none: { count: null } }, `${query || 'all'} ${time}`)
    }
  }
})

onEach('invalid values of count are refused', async (t, dialect) => {
  const app = await openFilled(dialect)
  for (const count of ['exactly', 'Exact', '0', 'true', 'null', 'bounded,exact']) {
    const { status, body } = await get(app, `/api/products/?count=${count}`)
    t.match(
      { status, errors: body.errors },
      { status: 400, errors: [{ parameter: 'count', allowed: ['bounded', 'exact', 'none'] }] },
      count,
    )
  }
  t.strictSame(await readCount(app, 'stock__gte=0&count='), { count: LIMIT, count_exact: false }, 'an empty value means the default')
})

onEach('links keep the count mode, and link to the last page if it is known', async (t, dialect) => {
  const app = await openFilled(dialect)
  const rows: [query: string, first: string, last: string | null][] = [
    ['', '', '?page=125'],
    ['count=bounded', '', '?page=125'],
    ['count=exact', '?count=exact', '?count=exact&page=125'],
    ['count=none', '?count=none', null],
    ['stock__gte=0', '?stock__gte=0', null],
    ['stock__gte=0&count=bounded', '?stock__gte=0', null],
    ['stock__gte=0&count=exact', '?count=exact&stock__gte=0', '?count=exact&page=125&stock__gte=0'],
    ['stock__gte=0&count=none', '?count=none&stock__gte=0', null],
    ['stock=3', '?stock=3', '?page=13&stock=3'],
    ['stock=3&count=none', '?count=none&stock=3', null],
    ['stock=3&count=none&page_size=100', '?count=none&page_size=100&stock=3', null],
  ]
  for (const [query, first, last] of rows) {
    const { body, headers } = await get(app, `/api/products/?${query}&page=2`)
    t.equal(parseLink(headers.link, 'first'), `${URL}${first}`, `first of ${query}`)
    t.equal(parseLink(headers.link, 'last'), last === null ? null : `${URL}${last}`, `last of ${query}`)
    const mode = new URLSearchParams(query).get('count')
    for (const link of [body.next, body.previous]) {
      t.equal(new URLSearchParams(link.split('?')[1]).get('count'), mode === 'bounded' ? null : mode, `links of ${query}`)
      const { count, count_exact } = (await get(app, link)).body
      t.strictSame({ count, count_exact }, { count: body.count, count_exact: body.count_exact }, `targets of the links of ${query}`)
    }
  }
})

onEach('page=last works for exact counts and is refused for others', async (t, dialect) => {
  const app = await openFilled(dialect)
  const lastPages: [query: string, first: number, last: number, previous: string][] = [
    ['', 2_481, ROWS, 'page=124'],
    ['page_size=99', 2_476, ROWS, 'page=25&page_size=99'],
    ['count=exact', 2_481, ROWS, 'page=124'],
    ['id__lte=1000', 981, 1_000, 'page=49'],
    ['id__lte=1000&page_size=30', 991, 1_000, 'page=33'],
    ['id__lte=1001&count=exact', 1_001, 1_001, 'page=50'],
    ['stock__gte=0&count=exact', 2_481, ROWS, 'page=124'],
    ['search=shirt&count=exact', 2_481, ROWS, 'page=124'],
  ]
  for (const [query, first, last, previous] of lastPages) {
    const { status, body } = await get(app, `/api/products/?${query}&page=last`)
    t.equal(status, 200, query)
    t.equal(body.results?.[0].id, first, `the first of the last page of ${query || 'all'}`)
    t.equal(body.results?.at(-1).id, last, `the last of the last page of ${query || 'all'}`)
    t.equal(body.next, null)
    t.ok(body.previous?.includes(previous), `the page before the last of ${query || 'all'}`, { previous: body.previous })
  }
  const refused: [query: string, detail: RegExp][] = [
    ['count=none', /count=none/],
    ['stock=3&count=none', /count=none/],
    ['id__lt=1&count=none', /count=none/],
    ['id__lte=1001', /1000 .*count=exact/],
    ['stock__gte=0', /1000 .*count=exact/],
    ['search=shirt', /1000 .*count=exact/],
    ['stock__gte=0&count=bounded&ordering=-stock,sku', /1000 .*count=exact/],
  ]
  for (const [query, detail] of refused) {
    const { status, body } = await get(app, `/api/products/?${query}&page=last`)
    t.match(
      { status, code: body.code, errors: body.errors },
      { status: 400, code: 'invalid-request', errors: [{ parameter: 'page', detail }] },
      query,
    )
  }
  const empty = await get(app, '/api/products/?id__lt=1&page=last')
  t.match({ status: empty.status, ...empty.body }, { status: 200, count: 0, results: [] }, 'an empty list')
})

onEach('pages beyond a bounded count exist up to the end of the list', async (t, dialect) => {
  const app = await openFilled(dialect)
  for (const filter of ['stock__gte=0', 'stock__gte=0&count=none', 'stock__gte=0&count=exact', 'search=shirt', 'count=none', '']) {
    for (const page of [50, 51, 60, 100, 124, 125]) {
      const { status, body } = await get(app, `/api/products/?${filter}&page=${page}`)
      t.equal(status, 200, `page ${page} of ${filter}`)
      const ids = body.results?.map(({ id }: { id: number }) => id)
      t.strictSame([ids?.[0], ids?.length, body.next === null], [(page - 1) * 20 + 1, 20, page === 125], `page ${page} of ${filter}`)
      if (body.count_exact === false)
        t.ok(body.count >= Math.max(LIMIT, page * 20) && body.count <= ROWS, `the count includes page ${page} of ${filter}`)
    }
    for (const page of [126, 1_000, 99_999_999]) {
      const { status, body } = await get(app, `/api/products/?${filter}&page=${page}`)
      t.match({ status, code: body.code }, { status: 404, code: 'page-not-found' }, `page ${page} of ${filter}`)
    }
  }
})

onEach('following next continues beyond a bounded count', async (t, dialect) => {
  const app = await openFilled(dialect)
  for (const mode of ['bounded', 'none']) {
    const ids: number[] = []
    for (let url: string | null = `/api/products/?stock__gte=0&ordering=-id&page_size=100&count=${mode}`; url !== null; ) {
      const { body } = await get(app, url)
      t.equal(body.count_exact, mode === 'none' ? undefined : false)
      ids.push(...body.results.map(({ id }: { id: number }) => id))
      url = ids.length > ROWS ? null : body.next
    }
    t.strictSame(
      ids,
      Array.from({ length: ROWS }, (_, index) => ROWS - index),
      mode,
    )
  }
})

const FILTERS = [
  '',
  'stock__gte=0&count=exact',
  'stock=3',
  'search=shirt&count=exact',
  'name__istartswith=SHIRT&count=exact',
  'brand!=Acme&count=exact',
]

onEach('every write updates the counts that it affects', async (t, dialect) => {
  const app = await buildFilled(t, dialect)
  const query = await connect(t, app.config.DATABASE_URL)
  const counts = async () => {
    const results: number[] = []
    for (const filter of FILTERS) results.push((await readCount(app, filter)).count)
    return results
  }
  const removeProduct = (id: number) => ask(app, 'DELETE', `/api/products/${id}/`)
  const body = { name: 'shirt', price: '1', stock: 3 }
  const rows: [what: string, write: () => Promise<unknown>, added: number[]][] = [
    ['nothing', async () => {}, [0, 0, 0, 0, 0, 0]],
    ['a record more', () => ask(app, 'POST', '/api/products/', body), [1, 1, 1, 1, 1, 1]],
    ['a record less', () => removeProduct(4), [-1, -1, -1, -1, -1, -1]],
    ['another stock', () => ask(app, 'PATCH', '/api/products/5/', { stock: 3 }), [0, 0, 1, 0, 0, 0]],
    ['another name', () => ask(app, 'PATCH', '/api/products/5/', { name: 'hat' }), [0, 0, 0, -1, -1, 0]],
    ['another brand', () => ask(app, 'PUT', '/api/products/5/', { ...body, brand: 'Acme' }), [0, 0, 0, 1, 1, -1]],
    ['records deleted by another program', () => query('delete from products where id in (14, 24)'), [-2, -2, -2, -2, -2, -2]],
    ['a record changed by another program', () => query('update products set stock = 4 where id = 34'), [0, 0, -1, 0, 0, 0]],
    [
      'a record inserted by another program',
      () =>
        query(
          "insert into products (name, price, stock, created_at, updated_at) select 'x', 1, 3, created_at, updated_at from products where id = 1",
        ),
      [1, 1, 1, 0, 0, 1],
    ],
    ['an import', () => importProducts(app.db, lines([{ sku: 'new', ...body }])), [1, 1, 1, 1, 1, 1]],
  ]
  let before = await counts()
  t.strictSame(before, [ROWS, ROWS, 250, ROWS, ROWS, ROWS])
  for (const [what, write, added] of rows) {
    await write()
    const after = await counts()
    t.strictSame(
      after.map((count, index) => count - (before[index] ?? 0)),
      added,
      what,
    )
    before = after
  }
})

/** Drops the trigger that gives the table a new version after an insert. */
const blind: Record<string, string> = { sqlite: 'drop trigger products_inserted', pg: 'drop trigger products_inserted on products' }

onEach('a count is remembered until the version of its table changes', async (t, dialect) => {
  const app = await buildFilled(t, dialect)
  const query: Query = await connect(t, app.config.DATABASE_URL)
  const filter = 'stock=3'
  t.strictSame(await readCount(app, filter), { count: 250 })
  await query(blind[dialect.name] ?? '')
  await query(
    'insert into products (name, price, stock, created_at, updated_at) select name, 1, 3, created_at, updated_at from products where id = 1',
  )
  t.strictSame(await readCount(app, filter), { count: 250 }, 'the version is unchanged')
  t.strictSame(
    await readCount(app, `${filter}.0&page_size=7&ordering=-name`),
    { count: 250 },
    'any page and order of the same filter share the count',
  )
  t.strictSame(await readCount(app, `${filter}&stock__gte=3`), { count: 251 }, 'another filter is counted separately')
  await app.db.write((tx) => tx.run(sql`update products set name = 'other' where id = 1`))
  t.strictSame(await readCount(app, filter), { count: 251 }, 'the version has changed')
})

onEach('counts by category follow changes of the category tree', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const body of [{ name: 'Food' }, { name: 'Bread', parent: 1 }, { name: 'Tools' }]) await ask(app, 'POST', '/api/categories/', body)
  for (const category of [1, 2, 2, 3]) await ask(app, 'POST', '/api/products/', { name: 'x', price: '1', category })
  const filters = ['category__under=1', 'category__under=3', 'category__slug=bread', 'category__slug=toast', 'category__under!=1']
  const counts = async () => {
    const results: number[][] = []
    for (const filter of filters) {
      const { body } = await get(app, `/api/products/?${filter}`)
      results.push([body.count, body.results.length])
    }
    return results.map(([count, length]) => (count === length ? count : `${length} records, counted as ${count}`))
  }
  t.strictSame(await counts(), [3, 1, 2, 0, 1])
  await ask(app, 'PATCH', '/api/categories/2/', { parent: 3 })
  t.strictSame(await counts(), [1, 3, 2, 0, 3], 'a category moved below another')
  await ask(app, 'PATCH', '/api/categories/2/', { name: 'Toast' })
  t.strictSame(await counts(), [1, 3, 0, 2, 3], 'a category got another slug')
})
