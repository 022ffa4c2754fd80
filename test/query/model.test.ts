// Random queries over a random catalogue, answered by both databases and by a model with the same records in an array.
// The model shares only fold() with the implementation, which defines equal letters.
// MODEL_RUNS sets the number of queries, and MODEL_SEED selects them. A failure prints the seed and the query.
import { eq } from 'drizzle-orm'
import fc from 'fast-check'
import type { Test } from 'tap'
import { fold } from '../../drizzle/fold.ts'
import type { App } from '../../src/http/routes.ts'
import { importProducts } from '../../src/transfer/import.ts'
import { ask, build, get, lines, onEach } from '../helper.ts'

const SEED = Number(process.env.MODEL_SEED || 20_260_101)
const RUNS = Number(process.env.MODEL_RUNS || 300)
const ROWS = 250

const WORDS = [
  ...['red', 'Red', 'RED', 'shirt', 'Shirts', 'a', 'A', 'b', 'Z', '10', '9', '100%', 'a_b', 'aXb', '%', '_', '\\', '\\%', '*', 'a\\b'],
  ...[
    'Straße',
    'STRASSE',
    'strasse',
    'ẞ',
    'ΌΣΟΣ',
    'όσος',
    'Σ',
    'ς',
    'İ',
    'I',
    'i',
    'ı',
    'é',
    'e\u0301',
    'É',
    'Ü',
    'ﬃ',
    'ffi',
    '\u212a',
    'k',
    'ŉ',
    'ǆ',
    'Ǆ',
  ],
  ...[
    '麵包',
    '麵',
    '包子',
    '👕',
    '👕👖',
    '\uff21',
    '\u{10ffff}',
    '"',
    '"q"',
    "'",
    "o'neil",
    ',',
    'a,b',
    '(',
    '{x}',
    'null',
    'NaN',
    '--',
    ';',
    'red|',
  ],
]
const BRANDS = ['', 'Acme', 'ACME', 'acme', 'Smith, Sons', 'say "hi"', '50%_off', 'Straße', '麵包', 'É', 'e\u0301']
const PRICES = ['0', '0.01', '9.99', '10', '10.01', '10.1', '29.9', '99.99', '100', '99999999.99']
const STOCKS = [0, 1, 2, 3, 5, 10, 2_147_483_646, 2_147_483_647]
const TIMES = [
  '1970-01-01T00:00:00.000Z',
  '2026-01-01T00:00:00.000Z',
  '2026-01-01T00:00:00.001Z',
  '2026-01-01T00:00:01.000Z',
  '2026-01-31T12:34:56.789Z',
]
/** Paths of category names from the root, in the order of their ids. */
const PATHS = [['Food'], ['Food', 'Bread'], ['Food', 'Bread', '麵包'], ['Straße'], ['Straße', 'Bread'], ['Empty'], ['Empty', 'Emptier']]

interface Row {
  id: number
  sku: string | null
  name: string
  description: string
  price: string
  stock: number
  brand: string
  category: number | null
  created_at: string
}

const phrase = (maxLength: number) => fc.array(fc.constantFrom(...WORDS), { minLength: 1, maxLength }).map((words) => words.join(' '))

const anyRow = fc.record({
  sku: fc.option(fc.constantFrom(...WORDS)),
  name: phrase(3),
  description: fc.oneof(fc.constant(''), phrase(6)),
  price: fc.constantFrom(...PRICES),
  stock: fc.constantFrom(...STOCKS),
  brand: fc.constantFrom(...BRANDS),
  category: fc.option(fc.integer({ min: 1, max: PATHS.length - 2 })),
  created_at: fc.constantFrom(...TIMES),
})

/** Records with a `sku` come first, because they can be imported. The others are created one by one. */
const CATALOGUE: Row[] = fc
  .sample(anyRow, { seed: SEED, numRuns: ROWS })
  .toSorted((a, b) => Number(a.sku === null) - Number(b.sku === null))
  .map((row, index) => ({ ...row, id: index + 1, sku: row.sku && `${row.sku}-${index}` }))

/** Fills the database and returns the slug of each category. */
async function fill(app: App): Promise<string[]> {
  const slugs: string[] = []
  for (const path of PATHS) {
    const parent = PATHS.findIndex((other) => other.length === path.length - 1 && other.every((name, depth) => name === path[depth])) + 1
    slugs.push((await createRecord(app, 'categories', { name: path.at(-1), parent: parent || null })).slug)
  }
  const withSku = CATALOGUE.filter(({ sku }) => sku !== null)
  await importProducts(
    app.db,
    lines(
      withSku.map(({ id: _, created_at: __, category, ...row }) => ({ ...row, category: category === null ? [] : PATHS[category - 1] })),
    ),
  )
  for (const { id: _, created_at: __, ...row } of CATALOGUE.slice(withSku.length)) await createRecord(app, 'products', row)
  await app.db.write(async (tx) => {
    const { products } = app.db.tables
    for (const { id, created_at } of CATALOGUE)
      await tx.update(products).set({ created_at, updated_at: created_at }).where(eq(products.id, id))
  })
  return slugs
}

async function createRecord(app: App, table: string, payload: object) {
  const { status, body } = await ask(app, 'POST', `/api/${table}/`, payload)
  if (status !== 201) throw new Error(JSON.stringify(body))
  return body
}

interface Condition {
  field: keyof Row
  lookup: string
  not: boolean
  values: readonly string[]
}

interface Query {
  conditions: readonly Condition[]
  terms: readonly string[]
  ordering: readonly string[]
  page?: string
  size?: number
}

// Values of queries, most of them equal or close to values in the catalogue.

const huge = '9'.repeat(29)
const numberText = fc.oneof(
  fc.constantFrom(...PRICES, ...STOCKS.map(String)),
  fc.integer({ min: -2, max: 12 }).map(String),
  fc.integer({ min: -300, max: 12_000 }).map((thousandths) => String(thousandths / 1_000)),
  fc.constantFrom(
    '.5',
    '5.',
    '-.5',
    '-0',
    '007',
    '010.10',
    '9.990',
    '10.005',
    '0.004',
    '-0.004',
    huge,
    `-${huge}`,
    `${huge}.5`,
    '2147483647.5',
    '99999999.991',
  ),
  fc.integer({ min: 1, max: ROWS }).map(String),
)

const timeText = fc
  .tuple(
    fc.constantFrom(...TIMES, '0001-01-01T00:00:00.000Z', '9999-12-31T23:59:59.999Z'),
    fc.constantFrom('Z', '0Z', '1Z', '9999Z', '+00:00', '-00:01', '+02:00', '1-02:00'),
  )
  .map(([time, end]) => time.replace('Z', end))

const cases = fc.constantFrom(
  (text: string) => text,
  (text: string) => text.toUpperCase(),
  (text: string) => text.toLowerCase(),
)

/** Generates parts of existing texts, and words that may match nothing. */
const anyPiece = (field: 'sku' | 'name' | 'description' | 'brand') =>
  fc
    .oneof(
      { weight: 3, arbitrary: fc.tuple(fc.constantFrom(...CATALOGUE), fc.nat({ max: 8 }), fc.integer({ min: 1, max: 6 }), cases) },
      { weight: 1, arbitrary: fc.tuple(phrase(2), fc.constant(0), fc.constant(20), cases) },
    )
    .map(([from, start, length, inCase]) => {
      const text = typeof from === 'string' ? from : (from[field] ?? '')
      return inCase([...text].slice(start, start + length).join(''))
    })
    .filter((piece) => piece.trim() !== '')

const anyWhole = (field: 'sku' | 'name' | 'brand') =>
  fc
    .tuple(fc.constantFrom(...CATALOGUE), cases)
    .map(([row, inCase]) => inCase(row[field] ?? 'null'))
    .filter((text) => text.trim() !== '')

const condition = (field: keyof Row, lookup: string, value: fc.Arbitrary<string>, { min = 1, max = 1 } = {}): fc.Arbitrary<Condition> =>
  fc.record({
    field: fc.constant(field),
    lookup: fc.constant(lookup),
    not: fc.boolean(),
    values: fc.array(value, { minLength: min, maxLength: max }),
  })

const PAIR = { min: 2, max: 2 }
const LIST = { min: 1, max: 5 }
const flag = fc.constantFrom('true', 'false', '1', '0', 'True')
const number = fc.integer({ min: 0, max: PATHS.length + 1 }).map(String)

const orderedConditions = (field: keyof Row, value: fc.Arbitrary<string>) => [
  ...['exact', 'gt', 'gte', 'lt', 'lte'].map((lookup) => condition(field, lookup, value)),
  condition(field, 'range', value, PAIR),
  condition(field, 'in', value, LIST),
  condition(field, 'isnull', flag),
]
const textConditions = (field: 'sku' | 'name' | 'brand') => [
  condition(field, 'exact', anyWhole(field)),
  condition(field, 'iexact', anyWhole(field)),
  condition(field, 'icontains', anyPiece(field)),
  condition(field, 'istartswith', anyPiece(field)),
  condition(field, 'in', fc.oneof(anyWhole(field), anyPiece(field), fc.constant('')), LIST),
  condition(field, 'isnull', flag),
]

const anyCondition = (slugs: readonly string[]) =>
  fc.oneof(
    ...[
      ...orderedConditions('id', numberText),
      ...orderedConditions('price', numberText),
      ...orderedConditions('stock', numberText),
      ...orderedConditions('created_at', timeText),
    ],
    ...[
      ...textConditions('sku'),
      ...textConditions('name'),
      ...textConditions('brand'),
      condition('description', 'icontains', anyPiece('description')),
    ],
    ...[condition('category', 'exact', number), condition('category', 'in', number, LIST), condition('category', 'isnull', flag)],
    ...[condition('category', 'under', number), condition('category', 'slug', fc.constantFrom(...slugs, 'none'))],
  )

const FIELDS = ['id', 'sku', 'name', 'price', 'stock', 'brand', 'category', 'created_at', 'updated_at']

const anyQuery = (slugs: readonly string[], page: fc.Arbitrary<string | undefined>): fc.Arbitrary<Query> =>
  fc.record(
    {
      conditions: fc.uniqueArray(anyCondition(slugs), { maxLength: 3, selector: ({ field, lookup, not }) => `${field} ${lookup} ${not}` }),
      terms: fc.oneof(
        { weight: 2, arbitrary: fc.constant([]) },
        {
          weight: 1,
          arbitrary: fc.array(fc.oneof(anyPiece('name'), anyPiece('description'), anyPiece('brand'), anyPiece('sku')), {
            minLength: 1,
            maxLength: 3,
          }),
        },
      ),
      ordering: fc
        .uniqueArray(fc.tuple(fc.constantFrom(...FIELDS), fc.constantFrom('', '-')), { maxLength: 3, selector: ([field]) => field })
        .map((keys) => keys.map(([field, sign]) => sign + field)),
      page,
      size: fc.option(fc.oneof(fc.integer({ min: 1, max: 100 }), fc.constantFrom(1, 2, 100)), { nil: undefined }),
    },
    { requiredKeys: ['conditions', 'terms', 'ordering'] },
  )

// Conversion of queries to URLs.

const quote = (text: string) => `"${text.replaceAll('"', '""')}"`
const formatItem = (text: string) => (text === '' || /[",]|^\s|\s$/.test(text) ? quote(text) : text)
const formatTerm = (text: string) => (/^[^\s"',\\]+$/.test(text) ? text : `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`)

function buildUrl({ conditions, terms, ordering, page, size }: Query): string {
  const pairs = conditions.map(({ field, lookup, not, values }): [string, string] => [
    `${field}${lookup === 'exact' ? '' : `__${lookup}`}${not ? '!' : ''}`,
    lookup === 'in' || lookup === 'range' ? values.map(formatItem).join(',') : values.join(),
  ])
  if (terms.length > 0) pairs.push(['search', terms.map(formatTerm).join(' ')])
  if (ordering.length > 0) pairs.push(['ordering', ordering.join(',')])
  if (page !== undefined) pairs.push(['page', page])
  if (size !== undefined) pairs.push(['page_size', String(size)])
  return `/api/products/?${pairs.map((pair) => pair.map(encodeURIComponent).join('=')).join('&')}`
}

// The meaning of queries.

/** A number as an exact fraction. */
type Fraction = [numerator: bigint, denominator: bigint]

function parseFraction(text: string): Fraction {
  const [whole = '', decimals = ''] = text.replace('-', '').split('.')
  const numerator = BigInt(whole + decimals || '0')
  return [text.startsWith('-') ? -numerator : numerator, 10n ** BigInt(decimals.length)]
}

/** Converts a time to nanoseconds since 1970. */
function parseInstant(text: string): Fraction {
  const [, decimals = ''] = /\.(\d+)/.exec(text) ?? []
  const seconds = BigInt(Date.parse(text.replace(/\.\d+/, ''))) * 1_000_000n
  return [seconds + BigInt(decimals.padEnd(9, '0')), 1n]
}

const compareFractions = ([a, b]: Fraction, [c, d]: Fraction): number => (a * d < c * b ? -1 : Number(a * d > c * b))
const compareText = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
const parseFlag = (text: string | undefined) => text === '1' || text?.toLowerCase() === 'true'

const findParent = (id: number): number => {
  const path = PATHS[id - 1] ?? []
  return PATHS.findIndex((other) => other.length === path.length - 1 && other.every((name, depth) => name === path[depth])) + 1
}
const isUnder = (id: number, root: number): boolean => id === root || (findParent(id) !== 0 && isUnder(findParent(id), root))

const comparisons: Record<string, (order: number) => boolean> = {
  exact: (order) => order === 0,
  gt: (order) => order > 0,
  gte: (order) => order >= 0,
  lt: (order) => order < 0,
  lte: (order) => order <= 0,
}

const textMeanings: Record<string, (text: string, value: string) => boolean> = {
  exact: (text, value) => text === value,
  iexact: (text, value) => fold(text) === fold(value),
  icontains: (text, value) => fold(text).includes(fold(value)),
  istartswith: (text, value) => fold(text).startsWith(fold(value)),
}

function meetsCondition({ field, lookup, values }: Condition, row: Row, slugs: readonly string[]): boolean {
  const is = row[field]
  if (lookup === 'isnull') return (is === null) === parseFlag(values[0])
  if (is === null) return false
  if (lookup === 'under') return isUnder(Number(is), Number(values[0]))
  if (lookup === 'slug') return slugs[Number(is) - 1] === values[0]
  if (field === 'sku' || field === 'name' || field === 'brand' || field === 'description') {
    const texts = values.map((value) => value.trim())
    return lookup === 'in' ? texts.includes(String(is)) : (textMeanings[lookup]?.(String(is), texts[0] ?? '') ?? false)
  }
  const parsePoint = field === 'created_at' ? parseInstant : parseFraction
  const orders = values.map((value) => compareFractions(parsePoint(String(is)), parsePoint(value)))
  if (lookup === 'in') return orders.includes(0)
  if (lookup === 'range') return (orders[0] ?? 0) >= 0 && (orders[1] ?? 0) <= 0
  return comparisons[lookup]?.(orders[0] ?? 0) ?? false
}

const containsTerm = (row: Row, term: string) =>
  [row.sku ?? '', row.name, row.description, row.brand].some((text) => fold(text).includes(fold(term)))

function compareIn(field: string, a: Row, b: Row): number {
  const [x, y] = [a, b].map((row) => row[(field === 'updated_at' ? 'created_at' : field) as keyof Row])
  if (x === null || y === null) return Number(x !== null) - Number(y !== null)
  return field === 'price' || typeof x === 'number'
    ? compareFractions(parseFraction(String(x)), parseFraction(String(y)))
    : compareText(String(x), String(y))
}

function computeAnswer({ conditions, terms, ordering }: Query, slugs: readonly string[]): number[] {
  const keys = [...ordering, ordering.at(-1)?.startsWith('-') ? '-id' : 'id']
  return CATALOGUE.filter(
    (row) =>
      conditions.every((condition) => meetsCondition(condition, row, slugs) !== condition.not) &&
      terms.every((term) => containsTerm(row, term)),
  )
    .toSorted((a, b) => {
      const orders = keys.map((key) => compareIn(key.replace('-', ''), a, b) * (key.startsWith('-') ? -1 : 1))
      return orders.find((order) => order !== 0) ?? 0
    })
    .map(({ id }) => id)
}

const readIds = (body: { results: { id: number }[] }) => body.results.map(({ id }) => id)

function expect(actual: unknown, expected: unknown, url: string): void {
  const [is, expectedJson] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (is !== expectedJson) throw new Error(`${url}\n   answer ${is}\n    model ${expectedJson}`)
}

const anyPage = fc.option(
  fc.oneof({ weight: 1, arbitrary: fc.constantFrom('1', 'last') }, { weight: 2, arbitrary: fc.integer({ min: 1, max: 8 }).map(String) }),
  { nil: undefined },
)

async function checkCatalogue(t: Test, app: App): Promise<void> {
  for (let start = 0; start < ROWS; start += 100) {
    const { body } = await get(app, `/api/products/?page_size=100&page=${start / 100 + 1}`)
    const price = (text: string) => Number(text).toFixed(2)
    const expected = CATALOGUE.slice(start, start + 100).map((row) => ({ ...row, price: price(row.price), updated_at: row.created_at }))
    t.same(
      body.results.map(({ version: _, ...record }: { version: number }) => record),
      expected,
      'every record is as it was written',
    )
  }
}

onEach('any query finds the records of the model, in its order and on its pages', async (t, dialect) => {
  const app = await build(t, dialect)
  const slugs = await fill(app)
  await checkCatalogue(t, app)
  let matched = 0
  const property = fc.asyncProperty(anyQuery(slugs, anyPage), async (query) => {
    const ids = computeAnswer(query, slugs)
    const size = query.size ?? 20
    const pages = Math.max(1, Math.ceil(ids.length / size))
    const page = query.page === 'last' ? pages : Number(query.page ?? 1)
    const url = buildUrl(query)
    const { status, body } = await get(app, url)
    matched += Number(ids.length > 0)
    if (page > pages) return expect({ status, code: body.code }, { status: 404, code: 'page-not-found' }, url)
    expect(
      { status, count: body.count, ids: body.results && readIds(body), next: Boolean(body.next), previous: Boolean(body.previous) },
      { status: 200, count: ids.length, ids: ids.slice((page - 1) * size, page * size), next: page < pages, previous: page > 1 },
      url,
    )
  })
  await fc.assert(property, { seed: SEED, numRuns: RUNS })
  t.ok(matched > RUNS / 4, 'many queries match something', { matched, of: RUNS })
})

onEach('following next meets every record of the model once', async (t, dialect) => {
  const app = await build(t, dialect)
  const slugs = await fill(app)
  const property = fc.asyncProperty(anyQuery(slugs, fc.constant(undefined)), async (query) => {
    const size = Math.max(query.size ?? 20, 10)
    const ids: number[] = []
    let url: string | null = buildUrl({ ...query, size })
    while (url !== null && ids.length <= ROWS) {
      const { status, body } = await get(app, url)
      expect(status, 200, url)
      ids.push(...readIds(body))
      url = body.next
    }
    expect(ids, computeAnswer(query, slugs), buildUrl({ ...query, size }))
  })
  await fc.assert(property, { seed: SEED, numRuns: Math.ceil(RUNS / 4) })
})
