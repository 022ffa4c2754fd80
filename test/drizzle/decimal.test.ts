// Columns return the values written to them: decimals as digits, and every kind of column on both databases.
import { eq, getTableColumns, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import fc from 'fast-check'
import t from 'tap'
import type { Database } from '../../drizzle/database.ts'
import { fromUnits, toUnits } from '../../drizzle/decimal.ts'
import { open } from '../../drizzle/open.ts'
import type { Kit } from '../../drizzle/served.ts'
import * as kit from '../../drizzle/sqlite/kit.ts'
import { ddl } from '../ddl.ts'
import { build, findIds, onEach } from '../helper.ts'

const cases: [text: string, scale: number, units: number, written: string][] = [
  ['0', 2, 0, '0.00'],
  ['-0', 2, 0, '0.00'],
  ['0.01', 2, 1, '0.01'],
  ['-0.01', 2, -1, '-0.01'],
  ['.5', 2, 50, '0.50'],
  ['-.5', 2, -50, '-0.50'],
  ['5.', 2, 500, '5.00'],
  ['007.5', 2, 750, '7.50'],
  ['29.9', 2, 2990, '29.90'],
  // In binary floating point these become 114.99999999999999, 101.00000000000001 and 435.00000000000006 cents.
  ['1.15', 2, 115, '1.15'],
  ['1.01', 2, 101, '1.01'],
  ['4.35', 2, 435, '4.35'],
  ['99999999.99', 2, 9_999_999_999, '99999999.99'],
  ['90071992547409.91', 2, Number.MAX_SAFE_INTEGER, '90071992547409.91'],
  ['12', 0, 12, '12'],
  ['-12', 0, -12, '-12'],
  ['1.0000', 4, 10_000, '1.0000'],
]
for (const [text, scale, units, formatted] of cases) {
  t.test(`${text} is stored and shown exactly at scale ${scale}`, async (t) => {
    t.equal(toUnits(text, scale), units)
    t.equal(fromUnits(units, scale), formatted)
    t.equal(fromUnits(BigInt(units), scale), formatted, 'from a bigint')
    t.equal(fromUnits(String(units), scale), formatted, 'from text, which PostgreSQL sends')
  })
}

const units = fc.maxSafeInteger()
const scale = fc.integer({ min: 0, max: 6 })

t.test('numbers of units survive formatting and parsing exactly', async () => {
  // `+ 0` turns -0 into 0.
  fc.assert(fc.property(units, scale, (some, scale) => toUnits(fromUnits(some, scale), scale) === some + 0))
})

t.test('trailing zeros do not change a value', async () => {
  fc.assert(
    fc.property(units, scale, (some, scale) => {
      const text = fromUnits(some, scale)
      return !text.includes('.') || toUnits(text.replace(/\.?0+$/, ''), scale) === some + 0
    }),
  )
})

const PRICES = ['0.00', '0.01', '1.15', '29.90', '99999999.99']
const INTEGERS = [0, 1, 2_147_483_647, 2_147_483_648, Number.MAX_SAFE_INTEGER]
const TIMES = [
  '0001-01-01T00:00:00.000Z',
  '0049-12-31T23:59:59.999Z',
  '0099-06-15T12:00:00.050Z',
  '1582-10-10T00:00:00.000Z',
  '1969-12-31T23:59:59.999Z',
  '1970-01-01T00:00:00.000Z',
  '2024-02-29T12:34:56.500Z',
  '2026-03-29T01:30:00.001Z',
  '9999-12-31T23:59:59.999Z',
]
const TEXTS = [
  '',
  ' ',
  "'; drop table products --",
  '"quoted" \\ back\\slash $1 ? :a @b %s {0}',
  'line\nbreak\r\n\ttab',
  '\u0001\u001f\u007f\u0080\u00a0\u2028\ufeff\uffff',
  'e\u0301 is not é',
  '麵包 한글 עברית العربية',
  '👩‍👩‍👧‍👦 𝅘𝅥𝅮 \u{10ffff}',
]

/** Stores a product that differs from a plain one in `values`, and returns it as read back. */
async function storeProduct(db: Database, values: Record<string, unknown>): Promise<Record<string, unknown>> {
  const { products } = db.tables
  const now = '2026-01-01T00:00:00.000Z'
  const row = { name: 'plain', price: '1.00', created_at: now, updated_at: now, ...values }
  const [{ id } = { id: 0 }] = await db.write((tx) => tx.insert(products).values(row).returning({ id: products.id }))
  const [read] = await db.read.select().from(products).where(eq(products.id, id))
  return read ?? {}
}

const kinds: Record<string, { column: 'price' | 'stock' | 'updated_at' | 'name'; values: readonly unknown[] }> = {
  decimal: { column: 'price', values: PRICES },
  integer: { column: 'stock', values: INTEGERS },
  time: { column: 'updated_at', values: TIMES },
  text: { column: 'name', values: TEXTS },
}

onEach('every kind of column returns the values written to it', async (t, dialect) => {
  const { db } = await build(t, dialect)
  for (const [kind, { column, values }] of Object.entries(kinds)) {
    for (const [row, value] of values.entries())
      t.equal((await storeProduct(db, { [column]: value }))[column], value, `${kind}, row ${row}`)
  }
})

onEach('a value finds its row in a comparison and in an array', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const { products } = db.tables
  for (const [kind, { column: name, values }] of Object.entries(kinds)) {
    const column = getTableColumns(products)[name] as SQLiteColumn
    for (const [row, value] of values.entries()) {
      const { id } = await storeProduct(db, { [name]: value })
      const alone = await db.read.select({ id: products.id }).from(products).where(eq(column, value))
      t.ok(
        alone.some((product) => product.id === id),
        `${kind}, row ${row}, alone`,
      )
      t.ok((await findIds(db, db.dialect.matchAny(column, [value]))).includes(Number(id)), `${kind}, row ${row}, in an array`)
    }
    const all = await findIds(db, db.dialect.matchAny(column, values))
    t.ok(all.length >= values.length, `${kind}: all in one array`)
    t.same(await findIds(db, db.dialect.matchAny(column, [])), [], `${kind}: none in an empty one`)
  }
})

onEach('a price is stored as whole cents', async (t, dialect) => {
  const { db } = await build(t, dialect)
  await storeProduct(db, { price: '99999999.99' })
  const [row] = await db.read.all<{ price: number | string }>(sql`select price from products`)
  t.equal(Number(row?.price), 9_999_999_999)
})

onEach('a reference is null or the id of an existing row', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const now = '2026-01-01T00:00:00.000Z'
  const [category] = await db.write((tx) =>
    tx.insert(db.tables.categories).values({ name: 'a', slug: 'a', created_at: now, updated_at: now }).returning(),
  )
  t.match(category, { parent: null, version: 1 })
  t.equal((await storeProduct(db, { category: category?.id })).category, category?.id)
  t.match(
    await storeProduct(db, {}),
    { category: null, sku: null, description: '', brand: '', stock: 0, version: 1 },
    'defaults of omitted columns',
  )
  const missing = storeProduct(db, { category: 1_000_000 })
  t.equal(await missing.catch((error) => db.classifyFailure(error)), 'reference')
})

onEach('a time beyond the range of its column sorts before or after every row', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const { products } = db.tables
  await storeProduct(db, { updated_at: '0001-01-01T00:00:00.000Z' })
  await storeProduct(db, { updated_at: '9999-12-31T23:59:59.999Z' })
  for (const [beyond, after] of [
    ['0000-12-31T23:59:59.999Z', 2],
    ['+010000-01-01T00:00:00.000Z', 0],
  ] as const) {
    const rows = await db.read
      .select({ id: products.id })
      .from(products)
      .where(sql`${products.updated_at} > ${sql.param(beyond, products.updated_at)}`)
    t.equal(rows.length, after, beyond)
  }
})

/** Columns, each with a default. */
const gadgetTables = (kit: Kit) => ({
  gadgets: kit.table('gadgets', {
    id: kit.id(),
    label: kit.text().notNull().default("it's"),
    price: kit.decimal(2).notNull().default('29.90'),
    count: kit.integer().notNull().default(7),
    fragile: kit.boolean().notNull().default(true),
    due: kit.time().notNull().default('2026-01-31T12:00:00.500Z'),
    tags: kit
      .json<unknown[]>()
      .notNull()
      .default([{ "it's": 'a "b" \\' }, 1]),
    settings: kit.json<object>().default({ colour: null }),
    note: kit.json<string>().default('text'),
  }),
})
const GADGET = {
  label: "it's",
  price: '29.90',
  count: 7,
  fragile: true,
  due: '2026-01-31T12:00:00.500Z',
  tags: [{ "it's": 'a "b" \\' }, 1],
  settings: { colour: null },
  note: 'text',
}

onEach('a column has its declared default, also in rows of other programs', async (t, dialect) => {
  const url = await dialect.create(t)
  const db = await open(url, { served: [], tables: gadgetTables as never })
  t.teardown(() => db.close())
  const { gadgets } = db.tables as unknown as ReturnType<typeof gadgetTables>
  await db.write(async (tx) => {
    for (const statement of await ddl(dialect.name, { gadgets })) await tx.run(sql.raw(statement))
    await tx.run(sql`insert into gadgets (id) values (1)`)
    await tx.insert(gadgets).values({ id: 2 })
  })
  t.strictSame(
    await db.read.select().from(gadgets),
    [1, 2].map((id) => ({ id, ...GADGET })),
  )
})

t.test('a default that its column cannot store is refused', async (t) => {
  t.throws(() => kit.decimal(2).default('1.005'), { message: /1\.005 has more than 2 decimals/ })
  t.throws(() => kit.decimal(2).default('free'), { message: /The default "free" cannot be stored exactly/ })
  t.throws(() => kit.time().default('tomorrow'), { message: /The default "tomorrow" cannot be stored exactly/ })
})
