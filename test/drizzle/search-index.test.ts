// The search text beside each table is found through an index, is correct after every write, and can hold any name.

import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout } from 'node:timers/promises'
import { type SQL, sql } from 'drizzle-orm'
import fc from 'fast-check'
import type { Database } from '../../drizzle/database.ts'
import { fold } from '../../drizzle/fold.ts'
import { open } from '../../drizzle/open.ts'
import { matchPrefix, matchText, reindex } from '../../drizzle/search.ts'
import type { Clause } from '../../drizzle/selection.ts'
import { categories } from '../../src/resources/categories.ts'
import { products } from '../../src/resources/products.ts'
import { importProducts } from '../../src/transfer/import.ts'
import { connect } from '../dialects.ts'
import { ask, build, buildQueries, findIds, get, lines, onEach } from '../helper.ts'
import { create, merge, remove } from '../records.ts'

const SERVED = [categories.served, products.served]
const FIELDS = products.search

const contains = (db: Database, term: string, fields: readonly string[] = FIELDS) =>
  db.dialect.contains('products', db.tables.products.id, fields, [term])

/** Writes many rows with SQL and then builds their search text. */
async function fill(db: Database, rows: number): Promise<void> {
  const { created_at, updated_at } = db.tables.products
  const time = '2026-01-01T00:00:00.000Z'
  await db.write((tx) =>
    tx.run(sql`
      with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < ${rows})
      insert into products (sku, name, description, brand, price, created_at, updated_at)
      select 'SKU-' || n, 'Shirt ' || (n % 977) || ' Größe ' || (n % 7) || case n % 1999 when 0 then ' 麵包' when 1 then ' 한글' else '' end,
        'a plain description, number ' || n || ' of many', 'Brand ' || (n % 211), n, ${sql.param(time, created_at)}, ${sql.param(time, updated_at)}
      from numbers`),
  )
  await reindex(db.write, db.dialect, products.served)
}

const ROWS = 20_000

/** A plan may scan only an index, and only the part that a term selects. */
const SCAN = /SCAN (?!products_search_(fts|postings) VIRTUAL)/
const TRIGRAMS = { uses: /products_search_fts VIRTUAL TABLE INDEX \d+:M/, avoids: SCAN }
// In FTS5's vocabulary 512 is a lower and 1024 an upper bound of the term. The lower bits are the columns.
const POSTINGS = { uses: /products_search_postings VIRTUAL TABLE INDEX 15(3[6-9]|[4-9]\d):/, avoids: SCAN }

/** Expressions that a plan must and must not match, for conditions that few of many rows meet. */
const plans: {
  what: string
  clause(db: Database): Clause
  sqlite: { uses: RegExp; avoids: RegExp }
  pg: RegExp
}[] = [
  ...Object.entries({
    'three letters': 'irt 976 grö',
    'three letters beyond ASCII': '한글',
    'a term that folds to more letters': 'GRÖẞE 3 麵',
    'a term with wildcards of LIKE': '97% plain_',
  }).map(([what, term]) => ({
    what: `${what}, in one field`,
    clause: (db: Database) => contains(db, [...term].length < 3 ? `${term} ` : term, ['name']),
    sqlite: TRIGRAMS,
    pg: /Bitmap Index Scan on products_search_trigrams/,
  })),
  {
    what: 'three letters, in any field',
    clause: (db) => contains(db, 'irt 976 grö'),
    sqlite: TRIGRAMS,
    pg: /BitmapOr[\s\S]*Bitmap Index Scan on products_search_trigrams/,
  },
  ...['麵包', '한', 'ö麵'].map((term) => ({
    what: `${[...term].length} letters beyond ASCII`,
    clause: (db: Database) => contains(db, term),
    sqlite: POSTINGS,
    pg: /Bitmap Index Scan on products_search_trigrams/,
  })),
  {
    what: 'two letters of ASCII',
    clause: (db) => contains(db, 'zq'),
    sqlite: POSTINGS,
    // pg_trgm has no trigrams for such terms, so the texts are scanned.
    pg: /Seq Scan on products_search/,
  },
  {
    what: 'the whole text',
    clause: (db) => matchText('products', db.tables.products.id, 'brand', 'BRAND 17'),
    sqlite: { uses: /SEARCH products_search USING (COVERING )?INDEX products_search_by_brand \(brand=\?\)/, avoids: /SCAN/ },
    pg: /Scan (using|on) products_search_by_brand/,
  },
  {
    what: 'the beginning',
    clause: (db) => matchPrefix('products', db.tables.products.id, 'name', 'SHIRT 976 GRÖẞE 1'),
    sqlite: { uses: /SEARCH products_search USING (COVERING )?INDEX products_search_by_name \(name>\? AND name<\?\)/, avoids: /SCAN/ },
    pg: /Scan (using|on) products_search_by_name/,
  },
]

onEach('text searches use an index', async (t, dialect) => {
  const { db, config } = await build(t, dialect)
  await fill(db, ROWS)
  // PostgreSQL does this itself some time after so many rows. It also merges the pending list of the index.
  if (dialect.name === 'pg') await (await connect(t, config.DATABASE_URL))('vacuum analyze products, products_search')
  for (const { what, clause, sqlite, pg } of plans) {
    const { check, ids = check } = buildQueries(clause(db))
    const query = dialect.name === 'pg' ? check : ids
    const rows = await db.read.all<object>(dialect.name === 'pg' ? sql`explain ${query}` : sql`explain query plan ${query}`)
    const plan = rows.map((row) => Object.values(row).at(-1)).join('\n')
    if (dialect.name === 'pg') {
      t.match(plan, pg, what)
    } else {
      t.match(plan, sqlite.uses, what)
      t.notMatch(plan, sqlite.avoids, what)
    }
  }
  t.equal((await findIds(db, contains(db, '麵包'))).length, Math.floor(ROWS / 1999))
})

/** Throws if SQLite's index disagrees with its text. */
async function checkIndex(db: Database): Promise<void> {
  for (const { table } of SERVED)
    await db.write((tx) => tx.run(sql.raw(`insert into ${table}_search_fts (${table}_search_fts, rank) values ('integrity-check', 1)`)))
}

onEach('the search text follows every write', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const product = await create(db, products, { sku: 'ONE', name: 'Red Shirt', description: 'of linen', brand: 'Acme', price: '1.00' })
  const other = await create(db, products, { sku: 'TWO', name: 'Blue Shirt', price: '1.00' })
  const steps: [what: string, write: () => Promise<unknown>, found: Record<string, number[]>][] = [
    [
      'made',
      async () => {},
      {
        red: [product.id],
        one: [product.id],
        linen: [product.id],
        acme: [product.id],
        shirt: [product.id, other.id],
        re: [product.id, other.id].slice(0, 1),
      },
    ],
    [
      'a field changed',
      () => merge(db, products, product.id, { name: 'Green Coat' }),
      { red: [], green: [product.id], linen: [product.id], shirt: [other.id] },
    ],
    ['another field changed', () => merge(db, products, product.id, { stock: 5 }), { green: [product.id], linen: [product.id] }],
    ['a field emptied', () => merge(db, products, product.id, { sku: null, description: '' }), { one: [], linen: [], green: [product.id] }],
    [
      'an import',
      () =>
        importProducts(
          db,
          lines([
            { sku: 'TWO', name: 'Zwölf Äpfel' },
            { sku: 'THREE', name: 'Trois pommes', price: 1 },
          ]),
        ),
      { blue: [], shirt: [], äpfel: [other.id], 'A\u0308P': [other.id], pommes: [other.id + 1] },
    ],
    ['removed', () => remove(db, products, product.id, []), { green: [], acme: [], pommes: [other.id + 1] }],
  ]
  for (const [what, write, matches] of steps) {
    await write()
    for (const [term, ids] of Object.entries(matches)) t.same(await findIds(db, contains(db, term)), ids, `${what}: ${term}`)
    if (dialect.name === 'sqlite') await t.resolves(checkIndex(db), what)
  }
  t.equal((await db.read.all(sql`select id from products_search`)).length, 2, 'removed records leave no search text')
})

onEach('rows of other programs are found after a reindex, and deleted ones disappear at once', async (t, dialect) => {
  const { db, config } = await build(t, dialect)
  const query = await connect(t, config.DATABASE_URL)
  const product = await create(db, products, { name: 'Red Shirt', brand: 'Acme', price: '1.00' })
  await query(`insert into products (name, price, created_at, updated_at) select 'BY HAND', 1, created_at, updated_at from products`)
  await query(`update products set name = 'CHANGED BY HAND' where id = ${product.id}`)
  t.same(await findIds(db, contains(db, 'hand')), [])
  t.equal(await reindex(db.write, db.dialect, products.served), 2)
  t.same(await findIds(db, contains(db, 'hand')), [product.id, product.id + 1])
  t.same(await findIds(db, contains(db, 'shirt')), [])
  t.same(await findIds(db, matchText('products', db.tables.products.id, 'name', 'by hand')), [product.id + 1])
  await query('delete from products where id = 1')
  t.same(
    (await query('select id from products_search')).map(({ id }) => Number(id)),
    [product.id + 1],
  )
  t.equal(await reindex(db.write, db.dialect, categories.served), 0)
  if (dialect.name === 'sqlite') await t.resolves(checkIndex(db))
})

onEach('a reindex does not undo concurrent writes', async (t, dialect) => {
  const { db, config } = await build(t, dialect)
  const other = await open(config.DATABASE_URL, { served: SERVED })
  t.teardown(() => other.close())
  const query = await connect(t, config.DATABASE_URL)
  const product = await create(db, products, { name: 'Red Shirt', price: '1.00' })
  // On SQLite the other writer waits for the transaction in any case.
  const locked = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
  const waits = async () => dialect.name === 'sqlite' || (await query(locked)).length > 0
  const outside = AsyncLocalStorage.snapshot()
  let meanwhile: Promise<unknown> | undefined
  // Runs after the first read and before the result is written.
  const write: Database['write'] = (work) =>
    db.write((tx) => {
      const all = async (statement: SQL) => {
        const rows = await tx.all(statement)
        if (meanwhile) return rows
        let done = false
        meanwhile = outside(() => merge(other, products, product.id, { name: 'Green Coat' })).finally(() => {
          done = true
        })
        while (!done && !(await waits())) await setTimeout(5)
        return rows
      }
      return work(Object.assign(Object.create(tx), { all }))
    })
  await reindex(write, db.dialect, products.served)
  await meanwhile
  t.same(await findIds(db, contains(db, 'green')), [product.id])
  t.same(await findIds(db, contains(db, 'red')), [])
})

/** Letters that are difficult for an index: they fold or compose, are special in LIKE or FTS5, or are no letters. */
const letter = fc.constantFrom(
  ...'aAbB ßẞİıΣς%_\\"\'*:-{}()^麵包한é',
  'e\u0301',
  '\u0301',
  '😀',
  '\u{1d160}',
  '\u001f',
  '\uffff',
  '\u{10ffff}',
)
const text = (minLength: number, maxLength: number) => fc.array(letter, { minLength, maxLength }).map((letters) => letters.join(''))

onEach('a search finds the rows that contain the term, for any text and term', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const rows = fc.sample(fc.record({ name: text(1, 12), brand: text(0, 6), description: text(0, 20) }), { numRuns: 300, seed: 1 })
  const now = '2026-01-01T00:00:00.000Z'
  const values = rows.map((row) => ({ ...row, price: '1.00', created_at: now, updated_at: now }))
  await db.write((tx) => tx.insert(db.tables.products).values(values))
  await reindex(db.write, db.dialect, products.served)
  const folded = rows.map((row) => ({ name: fold(row.name), brand: fold(row.brand), description: fold(row.description) }))
  const filterIds = (meets: (row: (typeof folded)[number]) => boolean) => folded.flatMap((row, index) => (meets(row) ? [index + 1] : []))
  const { id } = db.tables.products
  const property = fc.asyncProperty(text(1, 4), async (term) => {
    const sought = fold(term)
    const actual = await Promise.all([
      findIds(db, contains(db, term)),
      findIds(db, contains(db, term, ['brand'])),
      findIds(db, matchPrefix('products', id, 'name', term)),
      findIds(db, matchText('products', id, 'name', term)),
    ])
    t.same(
      actual,
      [
        filterIds(({ name, brand, description }) => [name, brand, description].some((field) => field.includes(sought))),
        filterIds(({ brand }) => brand.includes(sought)),
        filterIds(({ name }) => name.startsWith(sought)),
        filterIds(({ name }) => name === sought),
      ],
      JSON.stringify(term),
    )
  })
  await fc.assert(property, { numRuns: 250, seed: 2 })
  if (dialect.name === 'sqlite') await t.resolves(checkIndex(db))
})

/** Returns a text of `characters` code points that hardly compresses. */
function generateLong(characters: number, from: (random: number) => number): string {
  let state = 20_260_101
  const points = Array.from({ length: characters }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return from(state >>> 8)
  })
  return String.fromCodePoint(...points)
}

const createPicker = (text: string) => {
  const points = Array.from(text, (character) => character.codePointAt(0) as number)
  return (random: number) => points[random % points.length] as number
}
const names: Record<string, (length: number) => string> = {
  'of four bytes each': (length) => generateLong(length, (random) => 0x20000 + (random % 0xa000)),
  'of any four bytes': (length) => generateLong(length, (random) => 0x10000 + (random % 0xf0000)),
  // These characters take twelve bytes each in normal form C, which does not compose them again.
  'that normalise to three': (length) => generateLong(length, (random) => 0x1d160 + (random % 5)),
  'of music': (length) =>
    generateLong(
      length,
      createPicker('\u{1d15e}\u{1d15f}\u{1d160}\u{1d161}\u{1d162}\u{1d163}\u{1d164}\u{1d1bb}\u{1d1bc}\u{1d1bd}\u{1d1be}\u{1d1bf}\u{1d1c0}'),
    ),
  'whose capitals are three': (length) => generateLong(length, createPicker('ΐΰῒΐῗῢΰῧὖὒὔ')),
  'of ligatures': (length) => generateLong(length, createPicker('ﬀﬁﬂﬃﬄﬅﬆŉǰẖẗẘẙẚ')),
  'with an iota below': (length) => generateLong(length, (random) => 0x1f80 + (random % 0x30)),
  'of two letters in turn': (length) => Array.from('a\u{1d160}'.repeat(length)).slice(0, length).join(''),
}
onEach('the longest texts can be stored and found', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const [what, name] of Object.entries(names)) {
    const values = { sku: name(64), name: name(255), brand: name(255), description: name(10_000) }
    t.equal([...values.name].length, 255)
    const product = await ask(app, 'POST', '/api/products/', { ...values, price: '1.00' })
    t.match(product, { status: 201, body: values }, what)
    const category = await ask(app, 'POST', '/api/categories/', { name: values.name })
    t.match(category, { status: 201, body: { name: values.name } }, `${what}, in a category`)
    const queries: Record<string, string> = {
      name__iexact: values.name,
      brand__iexact: values.brand.toUpperCase(),
      sku__istartswith: [...values.sku].slice(0, 60).join(''),
      name__istartswith: values.name,
      name__icontains: [...values.name].slice(100, 104).join(''),
      description__icontains: [...values.description].slice(-5).join(''),
      search: `"${values.name}"`,
    }
    for (const [parameter, value] of Object.entries(queries)) {
      const { body } = await get(app, `/api/products/?${new URLSearchParams({ [parameter]: value })}`)
      t.equal(body.count, 1, `${what}: ${parameter}`)
    }
    t.equal((await ask(app, 'DELETE', `/api/products/${product.body.id}/`)).status, 204)
  }
})
