// Lists: order, pages, links and search.
import { eq } from 'drizzle-orm'
import t, { type Test } from 'tap'
import type { App } from '../../src/http/routes.ts'
import { categories } from '../../src/resources/categories.ts'
import { products } from '../../src/resources/products.ts'
import type { Dialect } from '../dialects.ts'
import { ask, build, get, onEach, withoutCursor } from '../helper.ts'

type ListedRecord = Record<string, string | number | null> & { id: number }

const CATEGORIES = [
  { name: 'Clothes', parent: null },
  { name: 'Shirts', parent: 1 },
  { name: 'Food', parent: null },
  { name: 'Shirts', parent: 3 },
  { name: 'Ärmel', parent: 1 },
]

// Two names distinguish an order by code points from one by UTF-16, in which the shirt precedes the wide letter.
const NAMES = ['apple', 'Zebra', 'apple', 'Übel', '麵包', '\uff21pple', '👕', 'apple pie', 'a', 'Apple', '10', '9', 'İ', '_', '~']
const PRICES = ['9', '10', '100', '9.5', '0', '99999999.99', '10']
const STOCKS = [0, 5, 5, 40, 2_147_483_647, 300]
const BRANDS = ['', 'Acme', 'acme', '', 'Smith, Sons']
const DAYS = ['2026-01-02', '2026-01-01', '2026-01-02', '2026-01-10']

/** More than one page of the default size, with repeated and missing values. */
const PRODUCTS = Array.from({ length: 45 }, (_, index) => ({
  name: NAMES[index % NAMES.length],
  price: PRICES[index % PRICES.length],
  stock: STOCKS[index % STOCKS.length],
  brand: BRANDS[index % BRANDS.length],
  ...(index % 4 !== 1 && { sku: `${index % 2 === 0 ? 'b' : 'A'}-${(index * 7) % 45}` }),
  ...(index % 3 !== 0 && { category: (index % 5) + 1 }),
}))

async function fill(app: App): Promise<void> {
  for (const body of CATEGORIES) await create(app, 'categories', body)
  for (const body of PRODUCTS) await create(app, 'products', body)
  await app.db.write(async (tx) => {
    for (const name of ['products', 'categories'] as const) {
      const table = app.db.tables[name]
      for (const index of PRODUCTS.keys()) {
        const at = `${DAYS[index % DAYS.length]}T00:00:00.000Z`
        await tx
          .update(table)
          .set({ created_at: at, updated_at: at })
          .where(eq(table.id, index + 1))
      }
    }
  })
}

const apps = new Map<string, Promise<App>>()

/** Returns one application per database, for tests that only read. */
function openFilled(dialect: Dialect): Promise<App> {
  const app = apps.get(dialect.name) ?? build(t, dialect).then((app) => fill(app).then(() => app))
  apps.set(dialect.name, app)
  return app
}

async function create(app: App, table: string, body: object): Promise<void> {
  const { status, body: answer } = await ask(app, 'POST', `/api/${table}/`, body)
  if (status !== 201) throw new Error(JSON.stringify(answer))
}

const readIds = (body: { results: ListedRecord[] }) => body.results.map(({ id }) => id)

/** Compares numbers and prices by value, texts and times by code point, and missing values first. */
function compare(field: string, a: ListedRecord, b: ListedRecord): number {
  const [x, y] = [a[field] ?? null, b[field] ?? null]
  if (x === null || y === null) return Number(x !== null) - Number(y !== null)
  if (typeof x === 'number' || field === 'price') return Number(x) - Number(y)
  return Buffer.compare(Buffer.from(String(x)), Buffer.from(String(y)))
}

/** Sorts ids by the documented order. */
function sortIds(records: readonly ListedRecord[], ordering: string): number[] {
  const requested = ordering.split(',').map((key) => key.trim())
  const keys = [...requested, requested.at(-1)?.startsWith('-') ? '-id' : 'id']
  const byKeys = (a: ListedRecord, b: ListedRecord) => {
    for (const key of keys) {
      const order = compare(key.replace('-', ''), a, b) * (key.startsWith('-') ? -1 : 1)
      if (order !== 0) return order
    }
    return 0
  }
  return records.toSorted(byKeys).map(({ id }) => id)
}

const listOrderings = ({ list }: typeof products): string[] => list.querystring.properties.ordering?.items.enum

const SEVERAL_KEYS = [
  ...['brand,price', 'brand,-price', '-brand,price', '-brand,-price', 'stock,-price,name', '-category,sku', 'category,-sku', 'sku,name'],
  ...['-created_at,updated_at', 'price,id', 'price,-id', '-price,id', '-id,price', 'name,-stock,category,-brand', ' brand , -stock '],
]

onEach('records are ordered as requested, with missing values first, or last if descending', async (t, dialect) => {
  const app = await openFilled(dialect)
  for (const resource of [products, categories]) {
    const all: ListedRecord[] = (await get(app, `/api/${resource.table}/?page_size=100`)).body.results
    t.strictSame(
      all.map(({ id }) => id),
      all.map((_, index) => index + 1),
      `${resource.table} are ordered by id by default`,
    )
    for (const ordering of [...listOrderings(resource), ...(resource === products ? SEVERAL_KEYS : ['parent,-name', '-name,parent'])]) {
      const { body } = await get(app, `/api/${resource.table}/?page_size=100&ordering=${encodeURIComponent(ordering)}`)
      t.strictSame(readIds(body), sortIds(all, ordering), `${resource.table} by ${ordering}`)
    }
  }
})

t.test('the catalogue has repeated and missing values, and names that distinguish code points from UTF-16', async (t) => {
  const names = PRODUCTS.map(({ name }) => name)
  t.ok(names.length > new Set(names).size, 'repeated values')
  t.ok(PRODUCTS.some((product) => !('sku' in product)) && PRODUCTS.some((product) => !('category' in product)), 'missing values')
  t.not(String(NAMES.toSorted()), String(NAMES.toSorted((a = '', b = '') => Buffer.compare(Buffer.from(a), Buffer.from(b)))), 'code points')
})

onEach('pages are numbered from 1, and page=last is the last', async (t, dialect) => {
  const app = await openFilled(dialect)
  const PAGE = 'http://localhost:80/api/products/'
  const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)
  const rows: [query: string, ids: number[], previous: string | null, next: string | null][] = [
    ['', range(1, 20), null, '?page=2'],
    ['page=1', range(1, 20), null, '?page=2'],
    ['page=', range(1, 20), null, '?page=2'],
    ['page=2', range(21, 40), '', '?page=3'],
    ['page=002', range(21, 40), '', '?page=3'],
    ['page=3', range(41, 45), '?page=2', null],
    ['page=last', range(41, 45), '?page=2', null],
    ['page=last&page_size=20', range(41, 45), '?page=2', null],
    ['page_size=1', [1], null, '?page=2&page_size=1'],
    ['page_size=1&page=45', [45], '?page=44&page_size=1', null],
    ['page_size=15&page=last', range(31, 45), '?page=2&page_size=15', null],
    ['page_size=15&page=2', range(16, 30), '?page_size=15', '?page=3&page_size=15'],
    ['page_size=45', range(1, 45), null, null],
    ['page_size=100', range(1, 45), null, null],
    ['page_size=100&page=last', range(1, 45), null, null],
    ['page_size=44&page=2', [45], '?page_size=44', null],
    ['page_size=', range(1, 20), null, '?page=2'],
  ]
  const link = (to: string | null) => (to === null ? null : `${PAGE}${to}`)
  for (const [query, ids, previous, next] of rows) {
    const { status, body } = await get(app, `/api/products/?${query}`)
    t.equal(status, 200, query)
    t.strictSame(Object.keys(body), ['count', 'next', 'previous', 'results'], query)
    const links = { next: withoutCursor(body.next), previous: withoutCursor(body.previous) }
    t.strictSame(
      { ...body, ...links, results: readIds(body) },
      { count: 45, next: link(next), previous: link(previous), results: ids },
      query,
    )
  }

  const past = ['page=4', 'page=46&page_size=1', 'page=2&page_size=100', 'page=999999999999', `page=${'9'.repeat(400)}`, 'page=2&stock=7']
  for (const query of past) {
    const { status, body } = await get(app, `/api/products/?${query}`)
    t.match({ status, code: body.code }, { status: 404, code: 'page-not-found' }, query)
  }
})

onEach('a list without matches has one empty page', async (t, dialect) => {
  const app = await build(t, dialect)
  await create(app, 'products', { name: 'Red shirt', price: '1' })
  for (const path of ['/api/categories/?', '/api/products/?stock=7&', '/api/products/?search=none&']) {
    for (const query of ['', 'page=1', 'page=last', 'page=last&page_size=5', 'ordering=-name']) {
      const { status, body, headers } = await get(app, path + query)
      t.strictSame({ status, ...body }, { status: 200, count: 0, next: null, previous: null, results: [] }, path + query)
      t.notMatch(headers.link, /rel="(next|prev)"/, path + query)
    }
    t.equal((await get(app, `${path}page=2`)).status, 404, `${path}page=2`)
  }
})

/** Parses a Link header to its targets by relation. */
const parseLinks = (header: unknown): Record<string, string> =>
  Object.fromEntries(
    String(header)
      .split(', ')
      .map((link): [string, string] => {
        const [, to = '', rel = ''] = /^<([^<>]*)>; rel="(\w+)"$/.exec(link) ?? []
        return [rel, to]
      }),
  )

onEach('a Link header leads to the first, previous, next and last page', async (t, dialect) => {
  const app = await openFilled(dialect)
  const url = 'http://localhost:80/api/products/'
  const rows: [query: string, links: Record<string, string>][] = [
    ['', { first: url, next: `${url}?page=2`, last: `${url}?page=3` }],
    ['page=2', { first: url, prev: url, next: `${url}?page=3`, last: `${url}?page=3` }],
    ['page=3', { first: url, prev: `${url}?page=2`, last: `${url}?page=3` }],
    ['page=last', { first: url, prev: `${url}?page=2`, last: `${url}?page=3` }],
    ['page_size=50', { first: `${url}?page_size=50`, last: `${url}?page_size=50` }],
  ]
  for (const [query, links] of rows) {
    const { headers, body } = await get(app, `/api/products/?${query}`)
    const actualLinks = parseLinks(headers.link)
    const bare = Object.entries(actualLinks).map(([rel, to]) => [rel, rel === 'next' || rel === 'prev' ? withoutCursor(to) : to])
    t.strictSame(Object.fromEntries(bare), links, query || 'no query')
    t.strictSame(
      { next: actualLinks.next ?? null, prev: actualLinks.prev ?? null },
      { next: body.next, prev: body.previous },
      'same as in the body',
    )
  }
})

onEach('a query too long for a Link header has its links only in the body', async (t, dialect) => {
  const app = await openFilled(dialect)
  const values = (count: number) => Array.from({ length: count }, (_, index) => `${'x'.repeat(60)}${index}`).join(',')
  for (const [count, has] of [
    [10, true],
    [90, false],
  ] as const) {
    const { body, headers } = await get(app, `/api/products/?brand__in!=${values(count)}`)
    t.equal(body.count, 45)
    t.equal(withoutCursor(body.next)?.endsWith('&page=2'), true, `${count} values`)
    t.equal(headers.link !== undefined, has, `${count} values`)
  }
})

/** Queries with the query of the link to the second page; undefined for years that RFC 3339 cannot express. */
const LINKS: [query: string, next?: string][] = [
  ['page_size=2', 'page=2&page_size=2'],
  ['stock__gte=0&page_size=2&brand__in=Acme,acme', 'brand__in=Acme%2Cacme&page=2&page_size=2&stock__gte=0'],
  ['price__gte=9.50&page_size=2', 'page=2&page_size=2&price__gte=9.5'],
  ['price__lt=050.0&page_size=2', 'page=2&page_size=2&price__lt=50'],
  ['price__gt=.5&page_size=2', 'page=2&page_size=2&price__gt=0.5'],
  ['price__gte=-0&page_size=2', 'page=2&page_size=2&price__gte=0'],
  ['stock__lte=5.&page_size=2', 'page=2&page_size=2&stock__lte=5'],
  ['price__range=0.0,100.00&page_size=2', 'page=2&page_size=2&price__range=0%2C100'],
  ['price__in=9,%2010.0&page_size=2', 'page=2&page_size=2&price__in=9%2C10'],
  ['brand=+Acme+&page_size=2', 'brand=Acme&page=2&page_size=2'],
  ['brand=Smith,+Sons&page_size=2', 'brand=Smith%2C+Sons&page=2&page_size=2'],
  ['brand__in=%20Acme,%22Smith,%20Sons%22&page_size=2', 'brand__in=Acme%2C%22Smith%2C+Sons%22&page=2&page_size=2'],
  ['brand__in=%22acme%22&page_size=2', 'brand__in=acme&page=2&page_size=2'],
  ['brand__in=%22%22&page_size=2', 'brand__in=%22%22&page=2&page_size=2'],
  ['brand__in!=Acme&page_size=2', 'brand__in%21=Acme&page=2&page_size=2'],
  ['sku__isnull=TRUE&page_size=2', 'page=2&page_size=2&sku__isnull=true'],
  ['sku__isnull=0&page_size=2', 'page=2&page_size=2&sku__isnull=false'],
  ['created_at__gte=2026-01-01&page_size=2', 'created_at__gte=2026-01-01T00%3A00%3A00.000Z&page=2&page_size=2'],
  ['created_at__lt=2026-01-05T14:00%2B02:00&page_size=2', 'created_at__lt=2026-01-05T12%3A00%3A00.000Z&page=2&page_size=2'],
  ['created_at__gt=2026-01-01T00:00:00.00010Z&page_size=2', 'created_at__gt=2026-01-01T00%3A00%3A00.0001Z&page=2&page_size=2'],
  ['created_at__lt=9999-12-31T23:59:59-23:00&page_size=2'],
  ['created_at__gt=0000-01-01T00:00:00%2B23:00&page_size=2'],
  ['search=++apple+&page_size=2', 'page=2&page_size=2&search=apple'],
  ['search=%22apple%20pie%22&page_size=2', 'page=2&page_size=2&search=%22apple+pie%22'],
  ['name__icontains=%f0%9f%91%95&page_size=2', 'name__icontains=%F0%9F%91%95&page=2&page_size=2'],
  ['ordering=price,-stock&page_size=2', 'ordering=price%2C-stock&page=2&page_size=2'],
  ['ordering=+-price+,+stock&page_size=2', 'ordering=-price%2Cstock&page=2&page_size=2'],
  ['ordering=%22-price%22&page_size=2', 'ordering=-price&page=2&page_size=2'],
  ['ordering=id', 'page=2'],
  ['ordering=-id', 'ordering=-id&page=2'],
  ['page_size=20', 'page=2'],
  ['page_size=020&page=01', 'page=2'],
  ['page_size=', 'page=2'],
  ['stock=&brand=&search=&ordering=&page=&page_size=2', 'page=2&page_size=2'],
  ['stock=+++&page_size=2', 'page=2&page_size=2'],
  ['category__under=1.0&page_size=2', 'category__under=1&page=2&page_size=2'],
  ['category!=1&category__slug!=food&page_size=2', 'category%21=1&category__slug%21=food&page=2&page_size=2'],
  ['&&page_size=2&', 'page=2&page_size=2'],
]

onEach('links have the canonical form of the query and lead to the same records', async (t, dialect) => {
  const app = await openFilled(dialect)
  const origin = 'http://localhost:80'
  const path = (url: string) => url.slice(origin.length)
  for (const [query, expected] of LINKS) {
    const { status, body, headers } = await get(app, `/api/products/?${query}`)
    t.equal(status, 200, query)
    const { next, count } = body
    const spelled = withoutCursor(next)
    if (expected !== undefined) t.equal(spelled, `${origin}/api/products/?${expected}`, query)
    const names = [...new URL(next).searchParams.keys()]
    t.strictSame(names, names.toSorted(), query)
    const second = await get(app, path(next))
    t.match({ status: second.status, count: second.body.count }, { status: 200, count }, `the second page of ${query}`)
    if (second.status !== 200) continue
    t.notOk(
      readIds(second.body).some((id) => readIds(body).includes(id)),
      'no record is on both pages',
    )
    for (const back of [second.body.previous, parseLinks(headers.link).first ?? '']) {
      t.strictSame((await get(app, path(back))).body, body, `back to the first page of ${query}`)
    }
  }
})

onEach('following next meets every record once', async (t, dialect) => {
  const app = await openFilled(dialect)
  for (const ordering of ['id', '-id', 'stock', '-stock', 'sku', '-sku', 'category', '-category', 'brand,-price', '-created_at']) {
    for (const size of [1, 7]) {
      const ids: number[] = []
      let next: string | null = `/api/products/?ordering=${ordering}&page_size=${size}`
      while (next !== null && ids.length <= PRODUCTS.length) {
        const { body } = await get(app, next)
        ids.push(...readIds(body))
        next = body.next
      }
      const all = (await get(app, `/api/products/?ordering=${ordering}&page_size=100`)).body
      t.strictSame(ids, readIds(all), `by ${ordering}, ${size} per page`)
      t.equal(new Set(ids).size, PRODUCTS.length)
    }
  }
})

const readNext = async (t: Test, app: App, url: string, headers: Record<string, string> = {}) => {
  const { status, body } = await ask(app, 'GET', url, undefined, headers)
  t.equal(status, 200, url)
  return withoutCursor(body.next)
}

onEach('links begin with the origin of the request or the configured one', async (t, dialect) => {
  const app = await openFilled(dialect)
  const rows: [url: string, headers: Record<string, string>, next: string][] = [
    ['/api/products/', { host: 'shop.example:8080' }, 'http://shop.example:8080/api/products/?page=2'],
    ['/api/products', { host: 'shop.example' }, 'http://shop.example/api/products/?page=2'],
    ['/api/products?', { host: '[::1]:3000' }, 'http://[::1]:3000/api/products/?page=2'],
    [
      '/api/products/',
      { host: 'shop.example', 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' },
      'http://shop.example/api/products/?page=2',
    ],
    ['/api/categories/?page_size=2', { host: 'shop.example' }, 'http://shop.example/api/categories/?page=2&page_size=2'],
  ]
  for (const [url, headers, next] of rows) t.equal(await readNext(t, app, url, headers), next)

  const configured = await build(t, dialect, { env: { PUBLIC_URL: 'https://api.example.com' } })
  for (const name of ['Clothes', 'Food']) await create(configured, 'categories', { name })
  const next = await readNext(t, configured, '/api/categories/?page_size=1', { host: 'shop.example' })
  t.equal(next, 'https://api.example.com/api/categories/?page=2&page_size=1')
})

const SEARCHED = {
  tee: { sku: 'TEE-1', name: 'Red shirt', description: 'Soft, 100% cotton', brand: 'Acme' },
  blue: { name: 'Blue shirt', description: 'as the red one', brand: 'ACME' },
  loaf: { sku: 'LOAF', name: '麵包', description: 'Bread of the Straße', brand: '' },
  quote: { name: 'say "hi"', brand: "O'Neil" },
  slash: { name: 'a\\b', brand: '50%_off' },
  // Two adjacent fields, to detect a match across their boundary.
  gap: { name: 'cardboard', brand: 'boxed' },
  greek: { name: 'ΟΔΟΣ' },
}

onEach('a search finds records that contain every term, in any field and case', async (t, dialect) => {
  const app = await build(t, dialect)
  await create(app, 'categories', { name: 'Outdoor' })
  for (const body of Object.values(SEARCHED)) await create(app, 'products', { price: '1', category: 1, ...body })
  const all = Object.keys(SEARCHED).join(' ')
  const rows: [search: string, finds: string][] = [
    ['red', 'tee blue'],
    ['RED shirt', 'tee blue'],
    ['"red shirt"', 'tee'],
    ["'red shirt'", 'tee'],
    ['red,shirt', 'tee blue'],
    ['acme red', 'tee blue'],
    ['acme cotton', 'tee'],
    ['tee-1 acme shirt soft', 'tee'],
    ['TEE acme none', ''],
    ['shirt red blue', 'blue'],
    ['strasse', 'loaf'],
    ['STRAßE loaf', 'loaf'],
    ['麵', 'loaf'],
    ['包 麵', 'loaf'],
    ['"包麵"', ''],
    ['ς', 'greek'],
    ['οδος', 'greek'],
    ['100%', 'tee'],
    ['%', 'tee slash'],
    ['_', 'slash'],
    ['%_', 'slash'],
    ['0%_o', 'slash'],
    ['r%d', ''],
    ['r_d', ''],
    ['\\', 'slash'],
    ['a\\b', 'slash'],
    ['"', all],
    ['y "hi', 'quote'],
    ['y "ho', ''],
    ['\'"hi"\'', 'quote'],
    ['"say \\"hi\\""', 'quote'],
    ["o'neil", 'quote'],
    ["'", all],
    ['s', 'tee blue loaf quote'],
    ['re', 'tee blue loaf'],
    ['boardbox', ''],
    ['"cardboard boxed"', ''],
    ['d b', 'blue loaf gap'],
    ['outdoor', ''],
    ['*', ''],
    ['re*', ''],
    ['NOT red', ''],
    ['red OR blue', ''],
    ['name:red', ''],
    ['{name}', ''],
    ['-red', ''],
    ['^red', ''],
    ['', all],
    [' , "" ', all],
    [`"${'x'.repeat(255)}"`, ''],
  ]
  for (const [search, finds] of rows) {
    const { status, body } = await get(app, `/api/products/?search=${encodeURIComponent(search)}`)
    const ids = Object.keys(SEARCHED).flatMap((key, index) => (finds.split(' ').includes(key) ? [index + 1] : []))
    t.same({ status, count: body.count, ids: body.results && readIds(body) }, { status: 200, count: ids.length, ids }, search.slice(0, 60))
  }
  const { body } = await get(app, '/api/products/?search=shirt&brand=Acme&stock=0&ordering=-name')
  t.strictSame(readIds(body), [1], 'combined with filters')
  t.equal((await get(app, '/api/categories/?search=OUTDOOR')).body.count, 1, 'categories by name')
  t.equal((await get(app, '/api/categories/?search=none')).body.count, 0)
})
