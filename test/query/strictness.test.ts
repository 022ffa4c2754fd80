// Refusals of query strings, and their descriptions.
import { type AddressInfo, connect } from 'node:net'
import t, { type Test } from 'tap'
import { findNearest } from '../../src/did-you-mean.ts'
import type { App } from '../../src/http/routes.ts'
import { compileQuerystring, MAX_SUGGESTIONS } from '../../src/query/querystring.ts'
import { products } from '../../src/resources/products.ts'
import type { Dialect } from '../dialects.ts'
import { ask, build, get, onEach } from '../helper.ts'

interface Fault {
  parameter: string
  detail: RegExp
  /** Null if there must be none; undefined if it does not matter. */
  suggestion?: string | null
  allowed?: readonly string[]
}

const unknownFault = (parameter: string, suggestion: string | null = null, allowed?: readonly string[]): Fault => ({
  parameter,
  detail: suggestion ? /^is not known; did you mean .+\?$/ : /^is not known$/,
  suggestion,
  ...(allowed && { allowed }),
})
const repeatedFault = (parameter: string): Fault => ({ parameter, detail: /^is given more than once$/ })
const valueFault = (parameter: string, detail: RegExp): Fault => ({ parameter, detail })

const PRICES = ['price', 'price__gt', 'price__gte', 'price__lt', 'price__lte', 'price__range', 'price__in', 'price__isnull']
const CATEGORY = ['category', 'category__in', 'category__isnull', 'category__slug', 'category__under']
const FIELDS = [
  ...['id', 'sku', 'name', 'description', 'price', 'stock', 'brand', 'category', 'created_at', 'updated_at'],
  ...['search', 'ordering', 'page', 'page_size', 'cursor', 'count'],
]
const ORDER = ['id', 'sku', 'name', 'price', 'stock', 'brand', 'category', 'created_at', 'updated_at']

const listWords = (count: number) => Array.from({ length: count }, (_, index) => `w${index}`)
/** Returns `count` filters, at most 21. */
const listFilters = (count: number) =>
  ['id', 'price']
    .flatMap((field) => ['', '__gt', '__gte', '__lt', '__lte'].map((lookup) => field + lookup))
    .flatMap((name) => [`${name}=1`, `${name}!=1`])
    .concat('stock=1')
    .slice(0, count)
    .join('&')
const listNumbers = (count: number) => Array.from({ length: count }, (_, index) => index).join(',')

/** Queries with faults of one parameter. */
const ROWS: [query: string, ...faults: Fault[]][] = [
  ['bogus=1', unknownFault('bogus', null, FIELDS)],
  ['bogus', unknownFault('bogus')],
  ['bogus=', unknownFault('bogus')],
  ['=1', unknownFault('', null, FIELDS)],
  ['=', unknownFault('')],
  ['!=1', unknownFault('!')],
  ['format=json', unknownFault('format')],
  ['limit=10', unknownFault('limit')],
  ['version=1', unknownFault('version')],
  ['__proto__=1', unknownFault('__proto__')],
  ['constructor=1', unknownFault('constructor')],
  ['hasOwnProperty=1', unknownFault('hasOwnProperty')],
  ['pric=1', unknownFault('pric', 'price', FIELDS)],
  ['pirce__gte=1', unknownFault('pirce__gte', 'price__gte')],
  ['nmae=a', unknownFault('nmae', 'name')],
  ['skU=a', unknownFault('skU', 'sku')],
  ['price__ge=1', unknownFault('price__ge', 'price__gte', PRICES)],
  ['Price__gte=1', unknownFault('Price__gte', 'price__gte')],
  ['PAGE=1', unknownFault('PAGE', 'page')],
  ['%20price=1', unknownFault(' price', 'price')],
  ['price_gte=1', unknownFault('price_gte', 'price__gte')],
  ['price__gte[]=1', unknownFault('price__gte[]', 'price__gte', PRICES)],
  ['price>=1', unknownFault('price>', 'price')],
  ['brand__inn!=1', unknownFault('brand__inn!', 'brand__in!')],
  ['page!=1', unknownFault('page!', 'page')],
  ['page__gte=1', unknownFault('page__gte')],
  ['ordring=price', unknownFault('ordring', 'ordering')],
  ['pagesize=5', unknownFault('pagesize', 'page_size')],
  ['serach=red', unknownFault('serach', 'search')],
  ['price__bogus=1', unknownFault('price__bogus', null, PRICES)],
  ['price__gtee=1', unknownFault('price__gtee', 'price__gte', PRICES)],
  ['price__icontains=1', unknownFault('price__icontains', null, PRICES)],
  ['price__gte__lte=1', unknownFault('price__gte__lte', null, PRICES)],
  ['price__=1', { ...valueFault('price__', /^is not known/), allowed: PRICES }],
  ['category__gt=1', { ...valueFault('category__gt', /^is not known/), allowed: CATEGORY }],
  ['category__name=Food', unknownFault('category__name', 'category__slug', CATEGORY)],
  ['category__title!=Food', unknownFault('category__title!', 'category__slug!', CATEGORY)],
  ['category__parent=1', unknownFault('category__parent', 'category__under', CATEGORY)],
  ['category__parent!=1', unknownFault('category__parent!', 'category__under!', CATEGORY)],
  ['category__isnul=true', unknownFault('category__isnul', 'category__isnull', CATEGORY)],
  ['category__contains=food', unknownFault('category__contains', 'category__slug', CATEGORY)],
  ['description=soft', unknownFault('description', null, ['description__icontains'])],

  ['price=1&price=2', repeatedFault('price')],
  ['price=1&price=1', repeatedFault('price')],
  ['price=1&price=2&price=3&price=4', repeatedFault('price')],
  ['brand=a&br%61nd=b', repeatedFault('brand')],
  ['page=1&page=last', repeatedFault('page')],
  ['ordering=price&ordering=stock', repeatedFault('ordering')],
  ['brand__in=a&brand__in=b', repeatedFault('brand__in')],
  ['price!=1&price%21=2', repeatedFault('price!')],
  ['price=x&price=1', valueFault('price', /^is not a number/), repeatedFault('price')],
  ['bogus=1&bogus=2', unknownFault('bogus'), repeatedFault('bogus')],

  ...['abc', '1e3', '%2B5', '1 000', '1,5', 'NaN', 'Infinity', '0x10', '%EF%BC%95', '1_0', '$5', 'null', 'true'].map(
    (value): [string, Fault] => [`price=${value}`, valueFault('price', /^is not a number/)],
  ),
  [`stock__gt=${'1'.repeat(31)}`, valueFault('stock__gt', /more than 30 digits/)],
  ['id=abc', valueFault('id', /^is not a number/)],
  ['category=shirts', valueFault('category', /^is not a number/)],
  ['category__under=food', valueFault('category__under', /^is not a number/)],
  ['stock__in=1,a', valueFault('stock__in', /^value 2 is not a number/)],
  ['stock__in=1,""', valueFault('stock__in', /^value 2 is not a number/)],
  ['stock__in=1,,2', valueFault('stock__in', /empty item/)],
  ['stock__in=1,', valueFault('stock__in', /empty item/)],
  ['brand__in=,', valueFault('brand__in', /empty item/)],
  ['brand__in!=a,,b', valueFault('brand__in!', /empty item/)],
  ['brand__in="a', valueFault('brand__in', /quoted item/)],
  ['brand__in="a"b', valueFault('brand__in', /quoted item/)],
  [`stock__in=${listNumbers(101)}`, valueFault('stock__in', /^takes at most 100 values, got 101$/)],
  ['price__range=1', valueFault('price__range', /^takes 2 values, got 1$/)],
  ['price__range=1,2,3', valueFault('price__range', /^takes 2 values, got 3$/)],
  ['price__range=,1', valueFault('price__range', /empty item/)],
  ['price__range=1,', valueFault('price__range', /empty item/)],
  ['price__range=1,x', valueFault('price__range', /^value 2 is not a number/)],
  ['created_at=yesterday', valueFault('created_at', /^is not a time/)],
  ['created_at=2026-02-30', valueFault('created_at', /^is not a time/)],
  ['created_at__gte=2026-01-31T12:00:00+02:00', valueFault('created_at__gte', /%2B/)],
  ['created_at=2026-01-31T12:00:00%2B25:00', valueFault('created_at', /offset/)],
  ['created_at__in=2026-01-31,tomorrow', valueFault('created_at__in', /^value 2 is not a time/)],
  ...['yes', 'no', 'on', 't', 'null', '2', 'true,false', 'constructor', '__proto__'].map((value): [string, Fault] => [
    `sku__isnull=${value}`,
    { ...valueFault('sku__isnull', /^is neither true nor false$/), allowed: ['true', 'false'] },
  ]),

  ...['0', '00', '-1', '1.0', '1e0', 'abc', 'LAST', 'first', '%2B2', '%D9%A2', '1,2', '0x1'].map((value): [string, Fault] => [
    `page=${value}`,
    valueFault('page', /^is not a page/),
  ]),
  ...['0', '101', '-1', '2.0', '1e1', 'abc', 'last', '%2B5', '99999999999999999999'].map((value): [string, Fault] => [
    `page_size=${value}`,
    valueFault('page_size', /^must be a whole number from 1 to 100$/),
  ]),
  ['ordering=bogus', { ...valueFault('ordering', /^cannot order by bogus$/), allowed: ORDER }],
  ['ordering=-pric', { ...valueFault('ordering', /^cannot order by pric; did you mean price\?$/), suggestion: 'price', allowed: ORDER }],
  ['ordering=Price', { ...valueFault('ordering', /did you mean price/), suggestion: 'price' }],
  ['ordering=--price', { ...valueFault('ordering', /did you mean price/), suggestion: 'price' }],
  ['ordering=%2Bprice', { ...valueFault('ordering', /did you mean price/), suggestion: 'price' }],
  ['ordering=price desc', valueFault('ordering', /^cannot order by price desc/)],
  ['ordering=price;stock', valueFault('ordering', /^cannot order by price;stock/)],
  ['ordering=description', valueFault('ordering', /^cannot order by description/)],
  ['ordering=-', valueFault('ordering', /^cannot order by/)],
  ['ordering=?', valueFault('ordering', /^cannot order by \?/)],
  ['ordering=price,', valueFault('ordering', /empty item/)],
  ['ordering=price,,stock', valueFault('ordering', /empty item/)],
  ['ordering=price,-price', valueFault('ordering', /^names price twice$/)],
  [`ordering=${'price,'.repeat(9)}price`, valueFault('ordering', /^has 10 fields: at most 5 are allowed$/)],
  ['ordering=price,stock,name,sku,brand,id', valueFault('ordering', /^has 6 fields: at most 5 are allowed$/)],
  [listFilters(21), valueFault('stock', /exceeds the limit of 20 filters$/)],
  ['ordering=foo,price,nonsense', valueFault('ordering', /order by foo/), valueFault('ordering', /order by nonsense/)],
  [`search=${listWords(11).join('+')}`, valueFault('search', /more than 10 terms/)],
  [`search=${`${'a'.repeat(200)}+`.repeat(5)}`, valueFault('search', /more than 1000 characters/)],
  [`search=red+${'a'.repeat(256)}`, valueFault('search', /more than 255 characters/)],
  [`name__icontains=${'a'.repeat(256)}`, valueFault('name__icontains', /more than 255 characters/)],
  [`description__icontains!=${'a'.repeat(256)}`, valueFault('description__icontains!', /more than 255 characters/)],

  ...['%', '%1', '%zz', '%2', '5%', '%%35', '%u0041', '%-1'].map((value): [string, Fault] => [
    `brand=${value}`,
    valueFault('brand', /% that two hexadecimal/),
  ]),
  ['br%and=1', valueFault('br%and', /% that two hexadecimal/)],
  ...['%ff', '%c3', '%c3%28', 'a%80', '%c0%80', '%e0%80%80', '%ed%a0%80', '%ed%bf%bf', '%f4%90%80%80', '%f5%80%80%80', '%fe'].map(
    (value): [string, Fault] => [`brand=${value}`, valueFault('brand', /^is not UTF-8$/)],
  ),
  ['%ff=1', valueFault('%ff', /^is not UTF-8$/)],
  ...[
    'brand',
    'brand__in',
    'price',
    'created_at',
    'sku__isnull',
    'search',
    'ordering',
    'page',
    'page_size',
    'cursor',
    'count',
    'name__icontains',
    'category__slug',
  ].map((name): [string, Fault] => [`${name}=1%00`, valueFault(name, /^has a NUL character$/)]),
  ['br%00and=1', valueFault('br%00and', /^has a NUL character$/)],
]

/** Queries with several faults. */
const MANY: typeof ROWS = [
  ['price__gte=abc&price__lte=xyz', valueFault('price__gte', /number/), valueFault('price__lte', /number/)],
  ['bogus=1&page=0&price__gte=50', unknownFault('bogus'), valueFault('page', /page/)],
  [
    'price=abc&pric=1&page=0&page_size=500&ordering=bogus&sku__isnull=maybe&brand=%ff&stock__in=1,x&stock=1&stock=2&created_at=never&name=%00&%zz',
    valueFault('price', /number/),
    unknownFault('pric', 'price'),
    valueFault('page', /page/),
    valueFault('page_size', /whole number/),
    valueFault('ordering', /bogus/),
    valueFault('sku__isnull', /true nor false/),
    valueFault('brand', /UTF-8/),
    valueFault('stock__in', /value 2/),
    repeatedFault('stock'),
    valueFault('created_at', /time/),
    valueFault('name', /NUL/),
    valueFault('%zz', /hexadecimal/),
  ],
]

/** Checks that an answer has exactly the expected faults, in any order. */
function checkFaults(t: Test, { status, headers, body }: Awaited<ReturnType<typeof get>>, expected: readonly Fault[], title: string): void {
  t.match(
    { status, code: body.code, headers },
    { status: 400, code: 'invalid-request', headers: { 'content-type': /^application\/problem\+json/ } },
    title,
  )
  const actual: Fault[] = body.errors ?? []
  t.same(actual.map(({ parameter }) => parameter).toSorted(), expected.map(({ parameter }) => parameter).toSorted(), title)
  for (const { detail, suggestion, allowed, parameter } of expected) {
    const match = actual.find((fault) => fault.parameter === parameter && detail.test(String(fault.detail)))
    t.ok(match, `${title}: ${parameter} ${detail}`, { actual })
    if (suggestion !== undefined) t.equal(match?.suggestion ?? null, suggestion, `${title}: suggestion`)
    if (suggestion) t.match(match?.detail, suggestion, title)
    if (allowed) t.strictSame(match?.allowed, allowed, `${title}: allowed`)
  }
}

const encodeQuery = (query: string) => encodeURI(query).replaceAll('%25', '%')

const apps = new Map<string, Promise<App>>()

/** Returns one application per database, for tests that write nothing. */
function openEmpty(dialect: Dialect): Promise<App> {
  const app = apps.get(dialect.name) ?? build(t, dialect)
  apps.set(dialect.name, app)
  return app
}

onEach('unknown, repeated and ill-typed parameters are refused by name', async (t, dialect) => {
  const app = await openEmpty(dialect)
  for (const [query, ...faults] of [...ROWS, ...MANY]) checkFaults(t, await get(app, `/api/products/?${encodeQuery(query)}`), faults, query)
})

onEach('an empty value is ignored', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', { name: 'Red shirt', price: '5' })
  for (const name of Object.keys(products.list.querystring.properties)) {
    for (const value of ['', '=', '=+', '=%20%09%C2%A0']) {
      const { status, body } = await get(app, `/api/products/?${name}${value}`)
      t.match({ status, count: body.count }, { status: 200, count: 1 }, `${name}${value}`)
    }
  }
  t.equal((await get(app, '/api/products/?&&price=&')).body.count, 1)
})

onEach('unusual but valid queries are answered', async (t, dialect) => {
  const app = await openEmpty(dialect)
  const queries = [
    ...['price__gte=1&price__gte!=2', 'price=1&price!=1', 'page=+1+', 'page=0001', 'page=last+', 'page_size=100', 'page_size=+5'],
    ...[
      'brand=%F0%9F%91%95',
      'brand=%EF%BF%BD',
      'brand=%EF%BB%BF',
      'brand=%7f',
      'brand=a=b',
      'brand==',
      'brand=?',
      'brand=%23',
      'br%61nd=1',
    ],
    ...[
      `stock__in=${listNumbers(100)}`,
      `search=${listWords(10).join(',')}`,
      `price=${'9'.repeat(30)}`,
      'sku__isnull=+True+',
      'ordering=-price,+id',
      'ordering=price,stock,name,sku,brand',
      listFilters(20),
    ],
  ]
  for (const query of queries) t.equal((await get(app, `/api/products/?${query}`)).status, 200, query)
})

onEach('a URL without parameters refuses them before it does anything', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', { name: 'Red shirt', price: '5' })
  const body = { name: 'Blue shirt', price: '6' }
  const rows: [method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', url: string, body?: object][] = [
    ['GET', '/api/products/1/'],
    ['GET', '/api/products/99/'],
    ['PUT', '/api/products/1/', body],
    ['PATCH', '/api/products/1/', body],
    ['DELETE', '/api/products/1/'],
    ['POST', '/api/products/', body],
    ['POST', '/api/categories/', { name: 'Food' }],
    ['GET', '/livez'],
    ['GET', '/readyz'],
    ['GET', '/openapi.json'],
    ['GET', '/api/'],
  ]
  for (const [method, url, payload] of rows) {
    for (const name of ['price__gte', 'page', 'search', 'bogus']) {
      const answer = await ask(app, method, `${url}?${name}=1`, payload)
      checkFaults(t, answer, [valueFault(name, /^is not known: this URL takes no parameters$/)], `${method} ${url}?${name}=1`)
      t.notOk('allowed' in answer.body.errors[0], 'no empty list of allowed values')
    }
    checkFaults(
      t,
      await ask(app, method, `${url}?a=%ff&b=%00`, payload),
      [valueFault('a', /UTF-8/), valueFault('b', /NUL/)],
      `${method} ${url}?a=%ff&b=%00`,
    )
    if (url !== '/api/products/99/') t.match((await ask(app, method, `${url}?`, payload)).status, /^20\d$/, `${method} ${url}?`)
    if (method === 'DELETE') await ask(app, 'POST', '/api/products/', body)
  }
})

onEach('faults of the body and the query string are listed together', async (t, dialect) => {
  const app = await openEmpty(dialect)
  const { status, body } = await ask(app, 'POST', '/api/products/?page=1&price=2', { name: '', price: 'x', colour: 'red' })
  t.equal(status, 400)
  const places = body.errors.map((fault: { parameter?: string; pointer?: string }) => fault.parameter ?? fault.pointer)
  t.strictSame(places.toSorted(), ['/colour', '/name', '/price', 'page', 'price'])
})

onEach('more than 200 parameters are refused as a whole, and an answer lists at most 100 faults', async (t, dialect) => {
  const app = await openEmpty(dialect)
  const many = (count: number) => `/api/products/?${Array.from({ length: count }, (_, index) => `x${index}=1`).join('&')}`
  const accepted = await get(app, many(200))
  t.match(accepted, { status: 400, body: { code: 'invalid-request', detail: /200 faults/ } })
  t.equal(accepted.body.errors.length, 100)
  const refused = await get(app, many(201))
  t.match(refused, { status: 400, body: { code: 'invalid-request' } })
  t.match(refused.body.errors, [{ detail: /more than 200 parameters/ }])
  t.equal(refused.body.errors.length, 1)
})

t.test('suggestions are computed for the first unknown parameters only', async (t) => {
  let searches = 0
  const read = compileQuerystring(products.list.querystring, (name, names) => {
    searches++
    return findNearest(name, names)
  })
  const { faults } = read(Array.from({ length: 200 }, (_, index) => `pric${index}=1`).join('&'))
  t.equal(faults.length, 200, 'all unknown parameters are named')
  t.equal(faults.filter(({ suggestion }) => suggestion === 'price').length, MAX_SUGGESTIONS)
  t.equal(searches, MAX_SUGGESTIONS)
})

onEach('the size of a refusal does not grow with the query', async (t, dialect) => {
  const app = await openEmpty(dialect)
  const long = 'a'.repeat(4_000)
  const longest = (body: { errors: Record<string, string>[] }) =>
    Math.max(...body.errors.flatMap((fault) => [fault.parameter, fault.detail].map((text) => text?.length ?? 0)))
  const queries = [
    `${long}=1`,
    `${long}=%ff`,
    `${long}=1&${long}=2`,
    `%ff${long}=1`,
    `price__${long}=1`,
    `ordering=${long}`,
    `ordering=price,${long}`,
    `price=${long}`,
    `price__in=1,${long}`,
    `created_at=${long}`,
    `sku__isnull=${long}`,
    `page=${long}`,
  ]
  for (const query of queries) {
    const { status, body } = await get(app, `/api/products/?${query}`)
    t.equal(status, 400, query.slice(0, 20))
    t.ok(longest(body) < 250, query.slice(0, 20), { longest: longest(body) })
  }
})

/** Characters. Quadratic time would exceed the limit of the test file. */
const LONG = 2_000_000

t.test('refusing a name takes time in proportion to its length', async (t) => {
  const read = compileQuerystring(products.list.querystring)
  const rows: [title: string, query: string][] = [
    ['one long name', `${'a'.repeat(LONG)}=1`],
    ['underscores before the end of a line', `${'_'.repeat(LONG)}%0Ax=1`],
    ['exclamation marks', `price${'!'.repeat(LONG)}x=1`],
    ['the maximum number of names', Array.from({ length: 200 }, (_, index) => `price__gtee${'e'.repeat(50)}${index}=1`).join('&')],
  ]
  for (const [title, query] of rows) t.ok(read(query).faults.length > 0, title)
})

/** Sends the bytes of a request target, which no client library would, and returns the problem of the answer. */
async function readProblem(app: App, target: Buffer): Promise<Record<string, unknown>> {
  const { port } = app.server.address() as AddressInfo
  const socket = connect(port, '127.0.0.1')
  socket.end(Buffer.concat([Buffer.from('GET '), target, Buffer.from(' HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')]))
  const chunks = (await socket.toArray()) as Buffer[]
  const [, body = ''] = Buffer.concat(chunks).toString().split('\r\n\r\n')
  return JSON.parse(body)
}

onEach('a URL with unescaped characters beyond ASCII is refused', async (t, dialect) => {
  const app = await build(t, dialect)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const rows: [target: (string | number[])[], code: string][] = [
    [['/api/products/?brand=麵包'], 'malformed-request'],
    [['/api/products/?brand=', [0xff]], 'malformed-request'],
    [['/api/products/?brand=%C3', [0xa9]], 'malformed-request'],
    [['/api/products/', [0xff]], 'malformed-request'],
    [['/api/products/?brand=', [0x00]], 'malformed-request'],
    [['/api/products/?brand=', [0x1f]], 'malformed-request'],
    [['/api/products/?brand=%ff'], 'invalid-request'],
    // Characters that no URL may have and that every client escapes are harmless.
    [['/api/products/?brand[]={"|^`}'], 'invalid-request'],
  ]
  for (const [parts, code] of rows) {
    const target = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))))
    t.match(await readProblem(app, target), { status: 400, code }, JSON.stringify(target.toString('latin1')))
  }
})
