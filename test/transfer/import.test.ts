// Imports: the effect of each line, and that one bad line leaves everything unchanged.

import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { Database } from '../../drizzle/database.ts'
import { open } from '../../drizzle/open.ts'
import { categories } from '../../src/resources/categories.ts'
import { products } from '../../src/resources/products.ts'
import { ImportRefused, ImportStopped } from '../../src/transfer/faults.ts'
import { importProducts } from '../../src/transfer/import.ts'
import { type Line, readNdjson } from '../../src/transfer/ndjson.ts'
import { sampleProducts } from '../../src/transfer/sample.ts'
import sampleDepartments from '../../src/transfer/sample-departments.json' with { type: 'json' }
import { connect, DIALECTS } from '../dialects.ts'
import { build, lines, onEach } from '../helper.ts'
import { create, merge, remove } from '../records.ts'

type Row = Record<string, unknown>

const readRows = async (db: Database): Promise<Row[]> => db.read.select().from(db.tables.products).orderBy(db.tables.products.id)

/** Returns the path of every category, in the order of ids. */
async function readPaths(db: Database): Promise<string[]> {
  const all = await db.read.select().from(db.tables.categories).orderBy(db.tables.categories.id)
  const path = (id: number | null): string[] => {
    const category = all.find((other) => other.id === id)
    return category ? [...path(category.parent), category.name] : []
  }
  return all.map(({ id }) => path(id).join(' > '))
}

/** Returns everything that an import could change, as text. */
async function dumpTables(db: Database): Promise<string> {
  const tables = ['products', 'categories', 'products_search', 'categories_search', 'stockroom_counters']
  return JSON.stringify(await Promise.all(tables.map((table) => db.read.all(sql.raw(`select * from ${table} order by 1, 2`)))))
}

const textLines = (...texts: (string | Buffer)[]) => readNdjson(Readable.from(texts.map((text) => Buffer.from(text))))

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

onEach('an import creates new products, changes known ones and leaves equal ones', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const first = [
    { sku: 'A', name: 'Red', description: 'd', price: '29.90', stock: 3, brand: 'Acme', category: ['Clothes', 'Shirts'] },
    { sku: 'B', name: 'Blue', price: 5 },
    { sku: 'C', name: 'Green', price: '0.10', category: ['Clothes'] },
  ]
  t.same(await importProducts(db, lines(first)), {
    ...{ created: 3, updated: 0, unchanged: 0 },
    alsoCreated: { table: 'categories', count: 2, names: ['Clothes', 'Shirts'] },
  })
  const before = await readRows(db)
  t.match(before, [
    { id: 1, sku: 'A', name: 'Red', description: 'd', price: '29.90', stock: 3, brand: 'Acme', category: 2, version: 1 },
    { id: 2, sku: 'B', name: 'Blue', description: '', price: '5.00', stock: 0, brand: '', category: null, version: 1 },
    { id: 3, sku: 'C', price: '0.10', category: 1 },
  ])
  const same = [{ sku: 'A' }, { sku: ' B ', name: '  Blue ', price: '5.0', stock: 0 }, { ...first[2], price: 0.1 }]
  const unchanged = await dumpTables(db)
  t.same(await importProducts(db, lines(first)), { created: 0, updated: 0, unchanged: 3 })
  t.same(await importProducts(db, lines(same)), { created: 0, updated: 0, unchanged: 3 }, 'in another form')
  t.equal(await dumpTables(db), unchanged, 'version, times and counters are unchanged')

  await setTimeout(2)
  const mixed = [{ sku: 'B', price: '5.01' }, { sku: 'D', name: 'New', price: 1 }, { sku: 'C' }]
  t.same(await importProducts(db, lines(mixed)), { created: 1, updated: 1, unchanged: 1 })
  const after = await readRows(db)
  t.match(after[1], { ...before[1], price: '5.01', version: 2, updated_at: String })
  t.ok(String(after[1]?.updated_at) > String(before[1]?.updated_at))
  t.equal(after[1]?.created_at, before[1]?.created_at)
  t.same([after[0], after[2]], [before[0], before[2]])
})

const whole = { name: 'Red', description: 'd', price: '29.90', stock: 3, brand: 'Acme', category: ['Clothes', 'Shirts'] }
/** Second lines of the product, with the values that each changes. */
const changes: [what: string, line: Row, changed: Row][] = [
  ['nothing', {}, {}],
  ['a name', { name: 'Blue' }, { name: 'Blue' }],
  ['a price', { price: 29.91 }, { price: '29.91' }],
  ['an empty description', { description: '' }, { description: '' }],
  ['no stock', { stock: 0 }, { stock: 0 }],
  ['no brand', { brand: ' ' }, { brand: '' }],
  ['no category', { category: [] }, { category: null }],
  ['the category above', { category: ['Clothes'] }, { category: 1 }],
  ['a new category', { category: ['Shirts'] }, { category: 3 }],
  ['read-only members', { id: 77, version: 9, created_at: '2001-01-01', updated_at: null }, {}],
]

onEach('omitted members keep their values', async (t, dialect) => {
  const { db } = await build(t, dialect)
  for (const [what, line, changed] of changes) {
    await importProducts(db, lines([{ sku: what, ...whole }]))
    const before = (await readRows(db)).at(-1)
    const different = Object.keys(changed).length > 0
    const result = await importProducts(db, lines([{ sku: what, ...line }]))
    t.match(result, { created: 0, updated: different ? 1 : 0, unchanged: different ? 0 : 1 }, what)
    const after = (await readRows(db)).at(-1)
    t.same({ ...after, updated_at: null }, { ...before, ...changed, version: different ? 2 : 1, updated_at: null }, what)
  }
})

onEach('category paths form a tree', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const clothes = await create(db, categories, { name: 'Clothes' })
  const line = (sku: string, category?: string[]) => ({ sku, name: sku, price: 1, ...(category && { category }) })
  await importProducts(
    db,
    lines([
      line('a', ['Garden', 'Tools', 'Rakes']),
      line('b', ['Garden', 'Tools']),
      line('c', ['Clothes', 'Tools']),
      line('d', ['Tools']),
      line('e', [' Garden ', 'Tools', 'Rakes']),
      line('f', []),
      line('g'),
      line('h', ['garden']),
      line('i', ['麵包 / Bread', '"quoted"', 'back\\slash']),
      line(
        'j',
        Array.from({ length: 20 }, (_, level) => `Level ${level + 1}`),
      ),
    ]),
  )
  const paths = await readPaths(db)
  t.same(paths.slice(0, 10), [
    'Clothes',
    'Garden',
    'Garden > Tools',
    'Garden > Tools > Rakes',
    'Clothes > Tools',
    'Tools',
    'garden',
    '麵包 / Bread',
    '麵包 / Bread > "quoted"',
    '麵包 / Bread > "quoted" > back\\slash',
  ])
  t.equal(paths.length, 30)
  t.same(
    (await readRows(db)).map(({ category }) => (typeof category === 'number' ? paths[category - 1] : category)),
    [
      'Garden > Tools > Rakes',
      'Garden > Tools',
      'Clothes > Tools',
      'Tools',
      'Garden > Tools > Rakes',
      null,
      null,
      'garden',
      paths[9],
      paths[29],
    ],
  )
  const all = await db.read.select().from(db.tables.categories).orderBy(db.tables.categories.id)
  t.equal(all[0]?.id, clothes.id)
  t.equal(all[0]?.version, 1, 'an existing category is used unchanged')
  t.same(
    all.slice(1, 7).map(({ slug }) => slug),
    ['garden', 'tools', 'rakes', 'tools-2', 'tools-3', 'garden-2'],
  )
  const before = await dumpTables(db)
  await importProducts(db, lines([line('a', ['Garden', 'Tools', 'Rakes']), line('d', ['Tools'])]))
  t.equal(await dumpTables(db), before, 'nothing is created the second time')
})

onEach('ids follow the order of the lines', async (t, dialect) => {
  const { db } = await build(t, dialect)
  // More lines than one batch holds, in mixed order.
  const skus = Array.from({ length: 1_100 }, (_, index) => `${(index * 7_919) % 1_100}`)
  const progress: number[] = []
  const rows = skus.map((sku) => ({ sku, name: sku, price: 1 }))
  t.same(await importProducts(db, lines(rows), { onProgress: (line) => progress.push(line) }), { created: 1_100, updated: 0, unchanged: 0 })
  t.same(
    (await readRows(db)).map(({ id, sku }) => [id, sku]),
    skus.map((sku, index) => [index + 1, sku]),
  )
  t.same(progress.slice(0, 2), [500, 1_000], 'progress is reported at intervals')
})

const NEW = '{"sku": "N", "name": "n", "price": "1.00"}'
const MIB = 1_048_576

/** Files with one bad line, and the expected message. */
const bad: [what: string, file: (string | Buffer)[], says: RegExp][] = [
  ['half a line', [`${NEW}\n`, '{"sku": "X", "na'], /^ {2}line 2: is not JSON: .+$/m],
  ['two objects on a line', [`${NEW} ${NEW}`], /line 1: is not JSON/],
  ['a member given twice', ['{"sku": "X", "name": "a", "name": "b", "price": 1}'], /line 1: name is given more than once/],
  ['bytes that are not UTF-8', [`${NEW}\n\n`, Buffer.from([0x22, 0xff, 0x22]), '\n'], /line 3: is not UTF-8/],
  ['half of a character at the end', [Buffer.from('"é"').subarray(0, 2)], /line 1: is not UTF-8/],
  ['a list', ['[1]'], /line 1: the line must be an object/],
  ['null', ['null'], /line 1: the line must be an object/],
  ['no sku', ['{"name": "n", "price": 1}'], /line 1: sku is required/],
  ['an empty sku', ['{"sku": " ", "name": "n", "price": 1}'], /line 1: sku must have at least 1 character$/],
  ['a sku that is null', ['{"sku": null, "name": "n", "price": 1}'], /line 1: sku must be a string/],
  ['a sku that is a number', ['{"sku": 5, "name": "n", "price": 1}'], /line 1: sku must be a string/],
  ['a member that is not known', ['{"sku": "X", "name": "n", "price": 1, "prise": 1}'], /line 1: prise is not known; did you mean price\?/],
  ['a member that is nothing like ours', ['{"sku": "X", "name": "n", "price": 1, "zzzzzzzzz": 1}'], /line 1: zzzzzzzzz is not known$/m],
  ['a prototype', ['{"sku": "X", "name": "n", "price": 1, "__proto__": {}}'], /line 1: __proto__ is not known/],
  ['a price that is no number', ['{"sku": "X", "name": "n", "price": "1,5"}'], /line 1: price is not a number/],
  ['a price that is true', ['{"sku": "X", "name": "n", "price": true}'], /line 1: price must be a string or a number/],
  ['a price that is null', ['{"sku": "X", "name": "n", "price": null}'], /line 1: price must be a string or a number/],
  ['a price with three decimals', ['{"sku": "X", "name": "n", "price": 1.005}'], /line 1: price has more than 2 decimals/],
  ['a price below zero', ['{"sku": "X", "name": "n", "price": -1}'], /line 1: price must not be negative/],
  ['a price that is too large', ['{"sku": "X", "name": "n", "price": "100000000"}'], /line 1: price has more than 8 digits/],
  ['a stock with a fraction', ['{"sku": "X", "name": "n", "price": 1, "stock": 1.5}'], /line 1: stock must be an integer/],
  ['a stock in quotes', ['{"sku": "X", "name": "n", "price": 1, "stock": "1"}'], /line 1: stock must be an integer/],
  ['a stock that is too large', ['{"sku": "X", "name": "n", "price": 1, "stock": 2147483648}'], /line 1: stock must be at most 2147483647/],
  ['a name that is too long', [`{"sku": "X", "name": "${'é'.repeat(256)}", "price": 1}`], /line 1: name must have at most 255 characters/],
  ['a name that is null', ['{"sku": "X", "name": null, "price": 1}'], /line 1: name must be a string/],
  ['a NUL', ['{"sku": "X", "name": "a\\u0000", "price": 1}'], /line 1: name has the control character U\+0000/],
  ['a NUL in the sku', ['{"sku": "X\\u0000", "name": "n", "price": 1}'], /line 1: sku has the control character U\+0000/],
  ['an escape', ['{"sku": "X", "name": "a\\u001b[2J", "price": 1}'], /line 1: name has the control character U\+001B/],
  [
    'a tab in the name of a category',
    ['{"sku": "X", "name": "n", "price": 1, "category": ["a\\tb"]}'],
    /line 1: category\/0 has the control character U\+0009/,
  ],
  ['half of a surrogate pair', ['{"sku": "X", "name": "\\ud800", "price": 1}'], /line 1: name has half of a surrogate pair/],
  [
    'a category that is an id',
    ['{"sku": "X", "name": "n", "price": 1, "category": 1}'],
    /line 1: category must be an array, such as \["Clothing","Shirts"\]/,
  ],
  [
    'a category without a name',
    ['{"sku": "X", "name": "n", "price": 1, "category": ["a", ""]}'],
    /line 1: category\/1 must have at least 1 character/,
  ],
  [
    'a category too deep',
    [`{"sku": "X", "name": "n", "price": 1, "category": ${JSON.stringify(Array(21).fill('a'))}}`],
    /line 1: category must have at most 20 items/,
  ],
  [
    'several faults at once',
    ['{"nam": "n", "price": "x"}'],
    /line 1: (?=.*sku is required)(?=.*nam is not known; did you mean name\?)(?=.*price is not a number)/,
  ],
  ['no name in a new product', [`${NEW}\n`, '{"sku": "X", "price": 1}'], /line 2: name is required for a new product/],
  ['no price in a new product', ['{"sku": "OLD"}\n', '{"sku": "X", "name": "n"}'], /line 2: price is required for a new product/],
  ['a sku twice', [`${NEW}\n{"sku": "OLD"}\n${NEW}\n`], /line 3: sku "N" is on line 1 too/],
  ['a sku twice, once with spaces', [`${NEW}\n`, '{"sku": " N", "name": "m", "price": 1}'], /line 2: sku "N" is on line 1 too/],
  [
    'a line that is too long',
    [`${NEW}\n`, `{"sku": "X", "name": "${'a'.repeat(MIB)}"}\n`, '{"sku": "O", "name": "o", "price": 1}'],
    /^ {2}line 2: is longer than 1048576 bytes$/m,
  ],
  ['a line that never ends', [NEW, ...Array(40).fill(' '.repeat(65_536))], /line 1: is longer than 1048576 bytes/],
]

onEach('a bad line is reported with the reason, and nothing is changed', async (t, dialect) => {
  const { db } = await build(t, dialect)
  await importProducts(db, lines([{ sku: 'OLD', name: 'Old', price: 1, category: ['Old'] }]))
  const before = await dumpTables(db)
  for (const [what, file, says] of bad) {
    // The other lines would create, change and move products.
    const good = ['{"sku": "OLD", "price": 2, "category": ["New"]}', '{"sku": "M", "name": "m", "price": 1}'].map((line) => `${line}\n`)
    for (const [where, chunks] of Object.entries({ alone: file, 'among good ones': [...file, '\n', ...good.slice(1)] })) {
      const error: unknown = await importProducts(db, textLines(...chunks)).catch((error) => error)
      const message = error instanceof ImportRefused ? error.message : `not refused: ${error}`
      t.match(message, /^Nothing was imported:\n {2}line \d+: .+$/, `${what}, ${where}: one line is reported`)
      t.match(message, says, `${what}, ${where}`)
    }
  }
  t.equal(await dumpTables(db), before)
})

/** Bad lines of each kind, with their number. */
const manyBad: [what: string, rows: Row[], bad: number][] = [
  ['one line beyond the limit', Array.from({ length: 21 }, () => ({ name: 5 })), 21],
  ['unreadable lines', Array.from({ length: 1_050 }, () => ({ name: 5 })), 1_050],
  ['new products without a price', Array.from({ length: 50 }, (_, index) => ({ sku: `${index}`, name: 'n' })), 50],
  ['repeated skus', Array.from({ length: 100 }, (_, index) => ({ sku: `${index % 50}`, name: 'n', price: 1 })), 50],
]

onEach('the first 20 bad lines are reported, and the others counted', async (t, dialect) => {
  const { db } = await build(t, dialect)
  for (const [what, rows, bad] of manyBad) {
    const { message } = await importProducts(db, lines(rows)).catch((error) => error)
    t.equal(message.match(/line \d+:/g)?.length, 20, what)
    const more = bad - 20
    t.equal(message.split('\n').at(-1), `  ${more} more ${more === 1 ? 'line has' : 'lines have'} faults`, what)
  }
  const shortMessage = await importProducts(db, lines(Array.from({ length: 20 }, () => ({ name: 5 })))).catch((error) => error.message)
  t.notMatch(shortMessage, /more/)
})

onEach('faults of every kind are reported in one run', async (t, dialect) => {
  const { db } = await build(t, dialect)
  await importProducts(db, lines([{ sku: 'OLD', name: 'Old', price: 1 }]))
  const rows = [
    { sku: 'A', price: 'x', category: [''] },
    { sku: 'B', name: 'b' },
    { sku: 'C', name: 'c', price: 1 },
    { sku: 'A', name: 'a', price: 1 },
    { sku: 'C', name: 'c', stock: -1 },
    { sku: 'OLD', price: 2 },
  ]
  const { message } = await importProducts(db, lines(rows)).catch((error) => error)
  t.strictSame(message.split('\n'), [
    'Nothing was imported:',
    '  line 1: price is not a number: write plain digits, such as 12 or 0.5; category/0 must have at least 1 character; name is required for a new product',
    '  line 2: price is required for a new product',
    '  line 4: sku "A" is on line 1 too',
    '  line 5: stock must be at least 0; sku "C" is on line 3 too; price is required for a new product',
  ])
})

const row = (sku: string) => ({ sku, name: 'n', price: 1 })
const json = (sku: string) => JSON.stringify(row(sku))
const createLines = (...lines: [number, string][]) => lines.map(([number, sku]) => ({ number, value: row(sku) }))
const files: [what: string, chunks: (string | Buffer)[], expected: Line[]][] = [
  ['nothing', [], []],
  ['an empty chunk', [''], []],
  ['blank lines only', ['\n \n\t\r\n\n'], []],
  ['no newline at the end', [json('a'), '\n', json('b')], createLines([1, 'a'], [2, 'b'])],
  ['a newline at the end', [`${json('a')}\n${json('b')}\n`], createLines([1, 'a'], [2, 'b'])],
  ['CRLF', [`${json('a')}\r\n${json('b')}\r\n`], createLines([1, 'a'], [2, 'b'])],
  ['CR and LF in two chunks', [`${json('a')}\r`, `\n${json('b')}\r`, '\n'], createLines([1, 'a'], [2, 'b'])],
  ['blank lines, which count', [`\n\n${json('a')}\n  \n${json('b')}\n\n`], createLines([3, 'a'], [5, 'b'])],
  ['a byte order mark', ['\ufeff', json('a')], createLines([1, 'a'])],
  ['a line of exactly the longest length', [json('a').padEnd(MIB), '\n', json('b')], createLines([1, 'a'], [2, 'b'])],
  [
    'one byte more',
    [json('a').padEnd(MIB + 1), '\n', json('b')],
    [{ number: 1, fault: 'is longer than 1048576 bytes' }, ...createLines([2, 'b'])],
  ],
  [
    'long lines in small pieces',
    [...Array(100).fill(' '.repeat(20_000)), '\n', json('b'), ' '.repeat(MIB), '\n', json('c')],
    [{ number: 1, fault: 'is longer than 1048576 bytes' }, { number: 2, fault: 'is longer than 1048576 bytes' }, ...createLines([3, 'c'])],
  ],
]
for (const [what, chunks, expected] of files) {
  t.test(`lines are read correctly from a file with ${what}`, async (t) => t.same(await collect(textLines(...chunks)), expected))
}

t.test('the boundaries of chunks do not matter', async () => {
  const file = Buffer.from(`${json('麵包')}\r\n\n${json('👩‍👩‍👧‍👦 é e\u0301')}\n{bad\n${json('\u2028\u2029')}`)
  const expected = JSON.stringify(await collect(textLines(file)))
  const cuts = fc.uniqueArray(fc.integer({ min: 1, max: file.length - 1 }))
  const property = fc.asyncProperty(cuts, async (places) => {
    const edges = [0, ...places.sort((a, b) => a - b), file.length]
    const chunks = edges.slice(1).map((end, index) => file.subarray(edges[index], end))
    return JSON.stringify(await collect(readNdjson(Readable.from(chunks)))) === expected
  })
  await fc.assert(property, { numRuns: 300, examples: [[Array.from({ length: file.length - 1 }, (_, index) => index + 1)]] })
})

const sampleKinds = new Map(
  sampleDepartments.flatMap(({ shelves }) =>
    shelves.flatMap(({ name: shelf, kinds }) => kinds.map((kind) => [kind.name, { ...kind, shelf }])),
  ),
)
const LARGE_SAMPLE = 100_000

onEach('the sample is the same every time', async (t, dialect) => {
  const { db } = await build(t, dialect)
  t.match(await importProducts(db, sampleProducts(1_000)), { created: 1_000, updated: 0, unchanged: 0 })
  t.same(await importProducts(db, sampleProducts(1_000)), { created: 0, updated: 0, unchanged: 1_000 })
  const all = await readRows(db)
  t.equal(all.filter(({ stock }) => stock === 0).length, 100)
  t.equal(all.filter(({ category }) => category === null).length, 20)
  t.ok((await readPaths(db)).some((path) => path.includes(' > ')))
})

t.test('a large sample stays varied and believable', async (t) => {
  const skus = new Set<string>()
  const products = new Set<string>()
  const departments = new Map<string, Set<string>>()
  const faults: string[] = []
  for await (const line of sampleProducts(LARGE_SAMPLE)) {
    if (!('value' in line)) throw new TypeError('the sample has an unreadable line')
    const { sku, name, description, price, brand, category } = line.value as Record<string, string> & { category: string[] }
    skus.add(String(sku))
    products.add(`${brand} ${name}`)
    const [department, shelf] = category
    const ofBrand = departments.get(String(brand)) ?? new Set()
    departments.set(String(brand), department ? ofBrand.add(department) : ofBrand)
    const kind = sampleKinds.get(String(description).split(' with ', 1)[0] ?? '')
    const isPriced = kind && Number(price) >= kind.lowest - 1 && Number(price) <= kind.highest
    const fits = !shelf || kind?.shelf === shelf
    if (!kind || !name?.includes(kind.name) || !isPriced || !fits) faults.push(JSON.stringify(line.value))
  }
  t.same(faults.slice(0, 3), [], 'name, description, price and category match')
  t.equal(skus.size, LARGE_SAMPLE, 'every sku is unique')
  t.equal(products.size, LARGE_SAMPLE, 'every brand and name is unique')
  t.same(
    [...departments].filter(([, { size }]) => size !== 1),
    [],
    'each brand sells in one department',
  )
})

t.test('a smaller sample is the beginning of a larger one', async (t) => {
  const [small, large] = [await collect(sampleProducts(10)), await collect(sampleProducts(30))]
  t.same(small, large.slice(0, 10))
})

/** Returns new products, by default more than two batches of them. */
const createRows = (count = 1_000) => Array.from({ length: count }, (_, index) => ({ sku: `S${index}`, name: 'Shirt', price: 1 }))

onEach('other programs can write between two batches', async (t, dialect) => {
  const { db, config } = await build(t, dialect)
  const other = await open(config.DATABASE_URL, { served: [categories.served, products.served] })
  t.teardown(() => other.close())
  const merged: number[] = []
  let lastWrite = 0
  const write = async (n: number) => {
    await create(other, products, { sku: `OTHER ${n}`, name: 'By another', price: '1.00' })
    lastWrite = n
  }
  const writesSeen: number[] = []
  const onMerged = (lines: number, of: number) => {
    t.equal(of, 1_000)
    writesSeen.push(lastWrite)
    void write(merged.push(lines))
  }
  t.same(await importProducts(db, lines(createRows()), { onMerged }), { created: 1_000, updated: 0, unchanged: 0 })
  t.ok(merged.length > 1, 'there are several batches')
  t.equal(merged.at(-1), 1_000)
  t.ok(Number(writesSeen.at(-1)) > 0, 'a write that began after the first batch ended before the last')
})

onEach('an atomic import is one batch', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const merged: number[] = []
  const onMerged = (lines: number) => merged.push(lines)
  t.same(await importProducts(db, lines(createRows()), { atomic: true, onMerged }), { created: 1_000, updated: 0, unchanged: 0 })
  t.same(merged, [1_000])
})

/** Checks that every product has a search text and one entry in the change log. Returns the number of products. */
async function checkConsistency(t: Test, db: Database): Promise<number> {
  const [counts] = await db.read.all<Record<string, number>>(sql`select (select count(*) from products) as products,
    (select count(*) from products join products_search on products_search.id = products.id) as found,
    (select count(*) from changes where resource = 'products' and operation = 'create')
      - (select count(*) from changes where resource = 'products' and operation = 'delete') as recorded`)
  const count = Number(counts?.products)
  t.match([Number(counts?.found), Number(counts?.recorded)], [count, count])
  return count
}

onEach('repeating an interrupted import completes it', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const onMerged = () => {
    throw new Error('stopped')
  }
  await t.rejects(importProducts(db, lines(createRows()), { onMerged }), /stopped/)
  const count = await checkConsistency(t, db)
  t.ok(count > 0 && count < 1_000)
  t.same(await importProducts(db, lines(createRows())), { created: 1_000 - count, updated: 0, unchanged: count })
  t.equal(await checkConsistency(t, db), 1_000)
})

onEach('a line that another write has invalidated stops the import at its batch', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const product = await create(db, products, { sku: 'KNOWN', name: 'Before', price: '1.00' })
  let removed: Promise<unknown> | undefined
  const onMerged = () => {
    removed ??= remove(db, products, product.id, [])
  }
  const error = await importProducts(db, lines([...createRows(), { sku: 'KNOWN', stock: 1 }]), { onMerged }).catch((error) => error)
  await removed
  t.type(error, ImportStopped)
  const [, last] = /^The import stopped after line (\d+): /.exec(error.message) ?? []
  t.match(error.message, /\n {2}line 1001: name is required for a new product; price is required for a new product$/)
  t.equal(await checkConsistency(t, db), Number(last))
})

onEach('an import includes writes that others make while it reads its lines', async (t, dialect) => {
  const { db, config } = await build(t, dialect)
  const other = await open(config.DATABASE_URL, { served: [categories.served, products.served] })
  t.teardown(() => other.close())
  const product = await create(db, products, { sku: 'KNOWN', name: 'Before', price: '1.00' })
  async function* slow(): AsyncGenerator<Line> {
    for (let number = 1; number <= 1_000; number++) yield { number, value: { sku: `S${number}`, name: 'n', price: 1 } }
    // The previous lines are in the database by now.
    await create(other, products, { sku: 'MADE', name: 'By another', price: '1.00' })
    await create(db, products, { sku: 'SAME', name: 'By the same', price: '1.00' })
    await merge(other, products, product.id, { stock: 5 })
    yield { number: 1_001, value: { sku: 'MADE', price: 2 } }
    yield { number: 1_002, value: { sku: 'KNOWN', name: 'After' } }
  }
  t.same(await importProducts(db, slow()), { created: 1_000, updated: 2, unchanged: 0 })
  const all = await readRows(db)
  t.match(
    ['KNOWN', 'MADE', 'SAME'].map((name) => all.find(({ sku }) => sku === name)),
    [
      { name: 'After', stock: 5, version: 3 },
      { name: 'By another', price: '2.00', version: 2 },
      { name: 'By the same', version: 1 },
    ],
  )
})

const LOCKED = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"

for (const dialect of DIALECTS.filter(({ name }) => name === 'pg')) {
  t.test('an import updates a product that another transaction was creating [pg]', { skip: dialect.skip }, async (t) => {
    const { db, config } = await build(t, dialect)
    const [holder, query] = [await connect(t, config.DATABASE_URL), await connect(t, config.DATABASE_URL)]
    await create(db, products, { sku: 'A', name: 'Before', price: '1.00' })
    await holder('begin')
    await holder(`insert into products (sku, name, price, created_at, updated_at) values ('B', 'Made meanwhile', 100, now(), now())`)
    const imported = importProducts(
      db,
      lines([
        { sku: 'A', name: 'After' },
        { sku: 'B', name: 'Imported', price: 2 },
      ]),
    )
    while ((await query(LOCKED)).length === 0) await setTimeout(5)
    await holder('commit')
    t.same(await imported, { created: 0, updated: 2, unchanged: 0 })
    t.match(await readRows(db), [
      { sku: 'A', name: 'After' },
      { sku: 'B', name: 'Imported', price: '2.00', version: 2 },
    ])
  })

  t.test('an import keeps the line of a product created while it waits for another row [pg]', { skip: dialect.skip }, async (t) => {
    const { db, config } = await build(t, dialect)
    const [holder, query] = [await connect(t, config.DATABASE_URL), await connect(t, config.DATABASE_URL)]
    await create(db, products, { sku: 'A', name: 'Before', price: '1.00' })
    await holder('begin')
    await holder(`select * from products where sku = 'A' for update`)
    const imported = importProducts(
      db,
      lines([
        { sku: 'A', name: 'After' },
        { sku: 'B', name: 'Imported', price: 2 },
      ]),
    )
    while ((await query(LOCKED)).length === 0) await setTimeout(5)
    // The product is created at once, or the write waits for the import and is refused. Both are correct.
    let done = false
    const creation = create(db, products, { sku: 'B', name: 'Made meanwhile', price: '1.00' })
      .catch((error) => t.equal(error.code, 'not-unique'))
      .finally(() => {
        done = true
      })
    while (!done && (await query(LOCKED)).length < 2) await setTimeout(5)
    await holder('commit')
    t.match(await imported, { unchanged: 0 })
    await creation
    t.match(await readRows(db), [
      { sku: 'A', name: 'After' },
      { sku: 'B', name: 'Imported', price: '2.00' },
    ])
  })
}
