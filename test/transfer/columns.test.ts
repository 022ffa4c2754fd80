// Imports of a resource with more kinds of columns than products: references, nullable values and other unique values.
import type { Test } from 'tap'
import type { Database } from '../../drizzle/database.ts'
import { open } from '../../drizzle/open.ts'
import { decimal, id, integer, nullable, reference, stamps, text } from '../../src/query/fields.ts'
import { defineResource } from '../../src/query/resource.ts'
import { categories } from '../../src/resources/categories.ts'
import { createImporter } from '../../src/transfer/import.ts'
import { planImport } from '../../src/transfer/plan.ts'
import type { Dialect } from '../dialects.ts'
import { createExtraTables, tables } from '../extra-tables.ts'
import { lines, onEach } from '../helper.ts'
import { create } from '../records.ts'

const articles = defineResource({
  table: 'articles',
  singular: 'article',
  contract: {
    id: id(),
    sku: text({ minLength: 1, maxLength: 64 }),
    name: text({ minLength: 1, maxLength: 255 }),
    price: decimal({ precision: 10, scale: 2 }),
    ean: nullable(text({ minLength: 1, maxLength: 20 })),
    rating: nullable(integer({ minimum: 1, maximum: 5 })),
    shelf: nullable(reference('categories')),
    category: nullable(reference('categories')),
    ...stamps,
  },
  filter: {},
  search: ['name'],
  order: ['id'],
  defaultOrder: 'id',
  unique: [['sku'], ['ean']],
})

const importArticles = createImporter(planImport(articles, { key: 'sku', path: 'category', tree: categories }))

/** Opens a database with the table and one category, with the id 1. */
async function openArticles(t: Test, dialect: Dialect): Promise<Database> {
  const url = await dialect.create(t)
  await createExtraTables(dialect, url)
  const db = await open(url, { served: [categories.served, articles.served], tables })
  t.teardown(() => db.close())
  await db.migrate()
  await create(db, categories, { name: 'Shelf' })
  return db
}

const readRows = (db: Database) => db.read.select().from(db.tables.articles).orderBy(db.tables.articles.id)

const whole = { sku: 'A', name: 'a', price: '1.00', ean: '1', rating: 3, shelf: 1 }
/** Second lines of the article, with the values that each changes. */
const changes: [line: object, changed: object][] = [
  [{}, {}],
  [{ shelf: 1, rating: 3 }, {}],
  [{ shelf: null }, { shelf: null }],
  [{ rating: null }, { rating: null }],
  [{ ean: null }, { ean: null }],
  [
    { ean: null, rating: null, shelf: null, name: 'b' },
    { ean: null, rating: null, shelf: null, name: 'b' },
  ],
]

onEach('null clears a column, and a value fills an empty one', async (t, dialect) => {
  const db = await openArticles(t, dialect)
  for (const [line, changed] of changes) {
    await importArticles(db, lines([whole]))
    const [before] = await readRows(db)
    const isChanged = Object.keys(changed).length > 0
    t.match(await importArticles(db, lines([{ sku: 'A', ...line }])), { updated: isChanged ? 1 : 0, unchanged: isChanged ? 0 : 1 })
    const [after] = await readRows(db)
    t.match(after, { ...whole, ...changed, version: Number(before?.version) + (isChanged ? 1 : 0) }, JSON.stringify(line))
    t.match(await importArticles(db, lines([{ sku: 'A', ...line }])), { unchanged: 1 }, 'the same line changes nothing')
  }
})

onEach('a new record has null for null and omitted values', async (t, dialect) => {
  const db = await openArticles(t, dialect)
  const required = { name: 'a', price: '1.00' }
  await importArticles(
    db,
    lines([
      { sku: 'A', ...required, rating: null, shelf: null },
      { sku: 'B', ...required },
    ]),
  )
  const empty = { ean: null, rating: null, shelf: null, category: null }
  t.match(await readRows(db), [
    { sku: 'A', ...empty },
    { sku: 'B', ...empty },
  ])
})

onEach('unknown references and taken unique values are faults', async (t, dialect) => {
  const db = await openArticles(t, dialect)
  await importArticles(db, lines([whole, { ...whole, sku: 'B', ean: '2' }]))
  const before = await readRows(db)
  const required = { name: 'a', price: '1.00' }
  const rows = [
    { sku: 'A', shelf: 9 },
    { sku: 'C', ...required, shelf: 1, ean: '2' },
    { sku: 'D', ...required, ean: '7' },
    { sku: 'B', ean: '7', shelf: 8 },
    { sku: 'E', ...required, rating: 9 },
    { sku: 'F', ...required, ean: null },
  ]
  const { message } = await importArticles(db, lines(rows)).catch((error) => error)
  t.strictSame(message.split('\n'), [
    'Nothing was imported:',
    '  line 1: no shelf with the id 9 exists',
    '  line 2: ean "2" belongs to article 2',
    '  line 4: no shelf with the id 8 exists; ean "7" is on line 3 too',
    '  line 5: rating must be at most 5',
  ])
  t.strictSame(await readRows(db), before)
  t.match(await importArticles(db, lines([{ sku: 'A', ean: '1', shelf: 1 }])), { unchanged: 1 }, 'its own value is not taken')
})
