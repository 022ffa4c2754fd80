// Migrations from an empty or older schema, also by concurrent processes, and refusals of harmful ones.
import { once } from 'node:events'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { sql } from 'drizzle-orm'
import type { Test } from 'tap'
import { createCompatibilityCheck } from '../../drizzle/compatibility.ts'
import type { Database, ServedResource } from '../../drizzle/database.ts'
import type { DerivedPart } from '../../drizzle/migrations.ts'
import { open } from '../../drizzle/open.ts'
import type { Kit } from '../../drizzle/served.ts'
import { defineTables, type Tables } from '../../drizzle/tables.ts'
import { categories } from '../../src/resources/categories.ts'
import { products } from '../../src/resources/products.ts'
import type { Dialect } from '../dialects.ts'
import { connect, type Query } from '../dialects.ts'
import { findIds, onEach } from '../helper.ts'
import { startNode } from '../node-process.ts'
import { create, remove } from '../records.ts'

const ROOT = new URL('../../', import.meta.url)
const SERVED = [categories.served, products.served]

/**
 * Copies drizzle/ as another version: with more migrations, with `changes` in the text of the present ones, or without those after `last`.
 */
async function createVersion(
  t: Test,
  dialect: Dialect,
  more: Record<string, string[]>,
  changes: (text: string) => string = (text) => text,
  last?: string,
): Promise<typeof open> {
  const folder = t.testdir()
  const copy = join(folder, 'drizzle')
  cpSync(new URL('drizzle', ROOT), copy, { recursive: true })
  const migrations = join(copy, dialect.name, 'migrations')
  const journalFile = join(migrations, 'meta/_journal.json')
  const journal: { entries: { idx: number; tag: string }[] } = JSON.parse(readFileSync(journalFile, 'utf8'))
  if (last) journal.entries.splice(journal.entries.findIndex(({ tag }) => tag === last) + 1)
  for (const { tag } of journal.entries) {
    const file = join(migrations, `${tag}.sql`)
    writeFileSync(file, changes(readFileSync(file, 'utf8')))
  }
  for (const [tag, statements] of Object.entries(more)) {
    journal.entries.push({ ...journal.entries[0], idx: journal.entries.length, tag })
    writeFileSync(join(migrations, `${tag}.sql`), statements.join('--> statement-breakpoint\n'))
  }
  writeFileSync(journalFile, JSON.stringify(journal))
  const module: typeof import('../../drizzle/open.ts') = await import(pathToFileURL(join(copy, 'open.ts')).href)
  return module.open
}

async function openDatabase(
  t: Test,
  url: string,
  version: typeof open = open,
  served: readonly ServedResource[] = SERVED,
): Promise<Database> {
  const db = await version(url, { served })
  t.teardown(() => db.close())
  return db
}

const CATALOGUE: Record<string, string[]> = {
  sqlite: ['select type, name, tbl_name, rootpage, sql from sqlite_master order by type, name'],
  // The oids and xmins change when an object is recreated, even if it looks the same.
  pg: [
    `select oid::text, relname, relkind, relfilenode::text from pg_class where relnamespace = 'public'::regnamespace order by relname`,
    `select pg_attribute.xmin::text, attrelid::regclass::text as relation, attname, atttypid::regtype::text, attnotnull from pg_attribute
       join pg_class on pg_class.oid = attrelid where relnamespace = 'public'::regnamespace order by relation, attnum`,
    `select oid::text, xmin::text, proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace order by proname, oid`,
    'select oid::text, xmin::text, tgname, pg_get_triggerdef(oid) from pg_trigger order by oid',
    'select oid::text, xmin::text, conname, pg_get_constraintdef(oid) from pg_constraint order by oid',
  ],
}
const TABLES: Record<string, string> = {
  sqlite: "select name from sqlite_master where type = 'table' order by name",
  pg: "select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by relname",
}

/** Returns the whole schema and every row of every table as text. */
async function dumpDatabase({ name }: Dialect, query: Query): Promise<string> {
  const parts: unknown[] = []
  for (const text of CATALOGUE[name] ?? []) parts.push(await query(text))
  for (const table of await query(TABLES[name] ?? '')) {
    parts.push([table.name, await query(`select ${name === 'pg' ? 'xmin::text, ctid::text, *' : '*'} from "${table.name}"`)])
  }
  return JSON.stringify(parts, null, 1)
}

async function fill(db: Database): Promise<{ lastId: number }> {
  const clothes = await create(db, categories, { name: 'Clothes' })
  const shirts = await create(db, categories, { name: 'Shirts', parent: clothes.id })
  for (let number = 1; number <= 20; number++) {
    await create(db, products, {
      sku: `S${number}`,
      name: `Shirt ${number} ΣΊΓΜΑ`,
      price: '29.90',
      category: number % 2 ? shirts.id : null,
    })
  }
  const last = await create(db, products, { name: 'Given up again', price: '1.00' })
  await remove(db, products, last.id, [categories, products])
  return { lastId: last.id }
}

const readCounters = async (query: Query, table: string) => {
  const [row] = await query(`select sum(version) as version, sum(row_count) as rows from stockroom_counters where name = '${table}'`)
  return { version: Number(row?.version), rows: Number(row?.rows) }
}

onEach('migrating an empty database creates the whole schema, and the database is not ready before', async (t, dialect) => {
  const db = await openDatabase(t, await dialect.create(t))
  await t.rejects(db.checkReady())
  const applied = await db.migrate()
  t.equal(applied[0], '0000_init')
  for (const part of ['products_counters', 'products_search', 'categories_counters', 'categories_search'])
    t.ok(applied.includes(part), part)
  await db.checkReady()
  await fill(db)
  t.equal((await findIds(db, db.dialect.contains('products', db.tables.products.id, ['name'], ['σίγμα']))).length, 20)
})

onEach('a second migration changes nothing', async (t, dialect) => {
  const url = await dialect.create(t)
  const query = await connect(t, url)
  const first = await openDatabase(t, url)
  await first.migrate()
  await fill(first)
  const before = await dumpDatabase(dialect, query)
  t.same(await first.migrate(), [], 'by the same instance')
  t.same(await (await openDatabase(t, url)).migrate(), [], 'by another instance')
  t.equal(await dumpDatabase(dialect, query), before)
})

const COLUMNS: Record<string, string> = {
  categories: '"id", "name", "slug", "parent", "created_at", "updated_at", "version"',
  products: '"id", "sku", "name", "description", "price", "stock", "brand", "category", "created_at", "updated_at", "version"',
}

/** Statements as drizzle-kit writes them for changes beyond ALTER TABLE, which on SQLite are most changes. */
const rebuild: Record<string, (query: Query, table: string) => Promise<string[]>> = {
  async sqlite(query, table) {
    const definitions = await query(
      `select sql from sqlite_master where type in ('table', 'index') and tbl_name = '${table}' and sql is not null order by type desc`,
    )
    const [create = '', ...indexes] = definitions.map((row) => `${row.sql};`)
    return [
      'PRAGMA foreign_keys=OFF;',
      create.replace(/CREATE TABLE ["`]?\w+["`]?/, `CREATE TABLE \`__new_${table}\``),
      `INSERT INTO \`__new_${table}\`(${COLUMNS[table]}) SELECT ${COLUMNS[table]} FROM \`${table}\`;`,
      `DROP TABLE \`${table}\`;`,
      `ALTER TABLE \`__new_${table}\` RENAME TO \`${table}\`;`,
      'PRAGMA foreign_keys=ON;',
      ...indexes,
    ]
  },
  // Each statement rewrites every row.
  pg: async (_query, table) => [
    `ALTER TABLE "${table}" ALTER COLUMN "id" SET DATA TYPE integer;`,
    `ALTER TABLE "${table}" ALTER COLUMN "id" SET DATA TYPE bigint;`,
    `ALTER TABLE "${table}" ADD COLUMN "note" text DEFAULT '' NOT NULL;`,
    `ALTER TABLE "${table}" DROP COLUMN "note";`,
  ],
}

for (const table of ['products', 'categories'] as const) {
  onEach(`a rebuild of ${table} keeps rows, counters, search texts and constraints`, async (t, dialect) => {
    const url = await dialect.create(t)
    const query = await connect(t, url)
    const rows = async () => {
      const parts: unknown[] = []
      // A connection runs one statement at a time, so the queries run one after the other.
      for (const name of ['products', 'categories', 'products_search', 'categories_search'])
        parts.push(await query(`select * from ${name} order by id`))
      return JSON.stringify([...parts, (await readCounters(query, 'products')).rows, (await readCounters(query, 'categories')).rows])
    }
    const older = await openDatabase(t, url)
    await older.migrate()
    const { lastId } = await fill(older)
    const before = { rows: await rows(), version: (await readCounters(query, table)).version }

    const statements = (await rebuild[dialect.name]?.(query, table)) ?? []
    const newer = await openDatabase(t, url, await createVersion(t, dialect, { '0001_rebuild': statements }))
    t.ok((await newer.migrate()).includes('0001_rebuild'))
    t.equal(await rows(), before.rows)
    t.same(await newer.migrate(), [], 'it is applied once')
    await newer.checkReady()

    const after = await readCounters(query, table)
    t.ok(after.version >= before.version, 'the version does not decrease')
    await query(
      `insert into ${table} (${COLUMNS[table]}) select ${(COLUMNS[table] ?? '').replace('"id"', 'id + 1000').replace('"sku"', 'null').replace('"slug"', "slug || '-x'").replace('"name"', "name || '-x'")} from ${table} where id = 2`,
    )
    t.equal((await readCounters(query, table)).rows, after.rows + 1, 'an insert by another program is counted')
    t.ok((await readCounters(query, table)).version > after.version)
    await query(`update ${table} set name = 'by hand' where id = 1002`)
    t.match(
      await query(`select version from ${table} where id = 1002`),
      [{ version: /^2$/ }],
      'an update by another program raises the version of the row',
    )
    await query(`delete from ${table} where id = 1002`)
    t.equal((await readCounters(query, table)).rows, after.rows, 'a delete by another program is counted')
    t.same(await query(`select id from ${table}_search where id = 1002`), [], 'a delete removes the search text')

    t.equal(
      (await findIds(newer, newer.dialect.contains('products', newer.tables.products.id, ['name'], ['shirt 1']))).length,
      11,
      'the search works',
    )
    await t.rejects(query('delete from categories where id = 2'), 'a category in use cannot be deleted')
    const product = await create(newer, products, { name: 'After', price: '1.00' })
    t.ok(product.id > lastId, 'no id is reused')
    t.same(await findIds(newer, newer.dialect.contains('products', newer.tables.products.id, ['name'], ['after'])), [product.id])
  })
}

onEach('the id of a deleted row is not reused after a rebuild', async (t, dialect) => {
  const url = await dialect.create(t)
  const query = await connect(t, url)
  const older = await openDatabase(t, url)
  await older.migrate()
  const { lastId } = await fill(older)
  const statements = (await rebuild[dialect.name]?.(query, 'products')) ?? []
  const newer = await openDatabase(t, url, await createVersion(t, dialect, { '0001_rebuild': statements }))
  await newer.migrate()
  t.equal((await create(newer, products, { name: 'After', price: '1.00' })).id, lastId + 1)
})

/** Failing migrations. SQLite's are checked afterwards; PostgreSQL refuses them itself. */
const failing: Record<string, { statements: string[]; says: RegExp }> = {
  'that fails half-way': {
    statements: ["UPDATE products SET name = 'lost';", 'CREATE TABLE half (id bigint);', 'SELECT * FROM nowhere;'],
    says: /Migration 0001_bad failed, and nothing was migrated: .*nowhere/,
  },
  'that adds a column without a value for the rows': {
    statements: ['ALTER TABLE products ADD COLUMN rating integer NOT NULL;'],
    says: /Migration 0001_bad failed, and nothing was migrated: .*(NOT NULL column|contains null values)/,
  },
  'that would leave orphans': {
    statements: ['DELETE FROM categories WHERE id = 2;'],
    says: /10 rows of products refer .*nothing was migrated|violates foreign key/,
  },
  'that makes orphans of rows it changes': {
    statements: ['UPDATE categories SET parent = 77 WHERE id = 2;'],
    says: /1 rows? of categories refer.*nothing was migrated|violates foreign key/,
  },
}
for (const [what, { statements, says }] of Object.entries(failing)) {
  onEach(`a migration ${what} is rolled back completely`, async (t, dialect) => {
    const url = await dialect.create(t)
    const query = await connect(t, url)
    const older = await openDatabase(t, url)
    await older.migrate()
    await fill(older)
    const before = await dumpDatabase(dialect, query)
    const newer = await openDatabase(t, url, await createVersion(t, dialect, { '0001_bad': statements }))
    const error: Error = await newer.migrate().then(
      () => t.fail('it was applied'),
      (error) => error,
    )
    t.match(`${error.message} ${(error.cause as Error | undefined)?.message}`, says)
    t.equal(await dumpDatabase(dialect, query), before)
    t.match(await whyNotReady(newer), /0001_bad/, 'the newer version is not ready')
    t.equal(await whyNotReady(older), undefined)
    const orphan = newer.write((tx) => tx.run(sql`update products set category = 1000000`))
    t.equal(await orphan.catch((error) => newer.classifyFailure(error)), 'reference', 'references are enforced again')
  })
}

/** Adds a table that two sets of migrations change: OURS adds to it, THEIRS rebuilds it in its earlier form. */
const defineMakers = (kit: Kit): Tables => {
  const productTables = defineTables(kit)
  const makers = kit.table(
    'makers',
    { id: kit.id(), name: kit.text().notNull(), rating: kit.integer(), product: kit.reference(() => productTables.products.id) },
    (t) => [kit.uniqueIndex('makers_name', t.name), kit.index('makers_by_rating', t.rating, t.id)],
  )
  // Another test adds a table to the interface.
  return { ...productTables, makers } as unknown as Tables
}
const CREATE_MAKERS = 'CREATE TABLE "makers" ("id" integer PRIMARY KEY NOT NULL, "name" text NOT NULL);'
const OURS = {
  '0100_makers': [CREATE_MAKERS],
  '0101_rating': [
    'ALTER TABLE "makers" ADD COLUMN "rating" bigint;',
    'ALTER TABLE "makers" ADD COLUMN "product" bigint REFERENCES "products" ("id");',
    'CREATE UNIQUE INDEX "makers_name" ON "makers" ("name");',
    'CREATE INDEX "makers_by_rating" ON "makers" ("rating", "id");',
  ],
}
const THEIRS = {
  '0102_rebuild': [
    CREATE_MAKERS.replace('"makers"', '"__new_makers"'),
    'INSERT INTO "__new_makers" ("id", "name") SELECT "id", "name" FROM "makers";',
    'DROP TABLE "makers";',
    'ALTER TABLE "__new_makers" RENAME TO "makers";',
  ],
}
/** The migration that drizzle-kit would write next: it adds everything that THEIRS lacks. */
const AGAIN = { '0103_again': OURS['0101_rating'] }
const DROPPED = { '0102_drop': ['ALTER TABLE "makers" DROP COLUMN "product";'] }
const DROPPED_AGAIN = { '0103_again': OURS['0101_rating'].slice(1, 2) }

const LOST = [
  'column makers.rating',
  'column makers.product',
  'unique index makers_name on makers (name)',
  'index makers_by_rating on makers (rating, id)',
  'reference makers.product to products',
]
const rebuilds: [title: string, row: boolean, then: Record<string, string[]>, lost: readonly string[]][] = [
  ['removes what another added', true, THEIRS, LOST],
  ['removes what another added, from an empty table', false, THEIRS, LOST],
  ['removes values, though a later one adds the columns again', true, { ...THEIRS, ...AGAIN }, LOST.slice(0, 2)],
  ['empties no column that has values', false, { ...THEIRS, ...AGAIN }, []],
  ['drops a column by name', true, { ...DROPPED, ...DROPPED_AGAIN }, []],
]
for (const [title, row, then, lost] of rebuilds) {
  onEach(`a migration that ${title} is ${lost.length > 0 ? 'refused and rolled back completely' : 'applied'}`, async (t, dialect) => {
    const url = await dialect.create(t)
    const query = await connect(t, url)
    const migrate = async (migrations: Record<string, string[]>) => {
      const db = await (await createVersion(t, dialect, migrations))(url, { served: SERVED, tables: defineMakers })
      return db.migrate().finally(() => db.close())
    }
    await migrate(OURS)
    if (row) await query(`insert into makers (id, name, rating) values (1, 'Acme', 5)`)
    const before = await dumpDatabase(dialect, query)
    const applying = migrate({ ...OURS, ...then })
    if (lost.length === 0) {
      t.match(await applying, Object.keys(then))
      return
    }
    const { message } = await applying.then(
      () => Promise.reject(new Error('it was applied')),
      (error: Error) => error,
    )
    t.ok(message.startsWith('Migration 0102_rebuild removes '), message)
    for (const part of LOST) t.equal(message.includes(part), lost.includes(part), part)
    t.match(message, 'npm run migrations -- --name rebuild')
    t.equal(await dumpDatabase(dialect, query), before)
  })
}

onEach('a start names declared tables and indexes that the database lacks', async (t, dialect) => {
  const url = await dialect.create(t)
  const query = await connect(t, url)
  const db = await open(url, { served: SERVED, tables: defineMakers })
  t.teardown(() => db.close())
  await t.rejects(db.migrate(), { message: /^The database lacks table makers, which .* npm run migrations -- --name / })
  t.strictSame(await query(TABLES[dialect.name] ?? ''), [], 'nothing was created')

  const migrated = await openDatabase(t, url)
  await migrated.migrate()
  await query('drop index products_by_name')
  await query('drop index categories_root_name')
  await t.rejects(migrated.migrate(), {
    message:
      /lacks partial unique index categories_root_name on categories \(name\), index products_by_name on products \(name, id\), which/,
  })
})

interface RefusedDatabase {
  newer: Parameters<typeof createVersion>[2]
  changes?: (text: string) => string
  says: RegExp
  /** Whether a running instance stays ready. */
  ready?: boolean
}

const refused: Record<string, RefusedDatabase> = {
  'ahead of the code': {
    newer: { '0001_newer': ['CREATE TABLE newer (id bigint);'] },
    says: /0001_newer.*is unknown to this version: run the version/,
    ready: true,
  },
  'made by a file that was changed since': {
    newer: {},
    changes: (text) => `${text}\n-- tidied up`,
    says: /0000_init was changed.*restore/,
  },
}
for (const [what, { newer, changes, says, ready = false }] of Object.entries(refused)) {
  onEach(`a database ${what} is refused at the start`, async (t, dialect) => {
    const url = await dialect.create(t)
    const query = await connect(t, url)
    await (await openDatabase(t, url, await createVersion(t, dialect, newer, changes))).migrate()
    const before = await dumpDatabase(dialect, query)
    const db = await openDatabase(t, url)
    const doors = { migrate: () => db.migrate(), ...(!ready && { ready: () => db.checkReady() }) }
    for (const [door, attempt] of Object.entries(doors)) {
      const error: Error = await attempt().then(
        () => t.fail(`${door} went through`),
        (error) => error,
      )
      t.equal(error.constructor.name, 'DatabaseUnusable', door)
      t.match(error.message, says, door)
    }
    t.equal(await dumpDatabase(dialect, query), before)
  })
}

/** Changes of a newer version to the table of pauses, and whether a running older version can continue. */
const rollouts: [what: string, pauses: Record<string, string>, more: string[], says: RegExp | undefined][] = [
  ['adds a table', {}, ['create table added (id bigint)'], undefined],
  ['adds a column that may be empty', { note: 'text' }, [], undefined],
  ['adds a column with a default', { note: "text not null default ''" }, [], undefined],
  ['adds a column that has to be given', { note: 'text not null' }, [], /column webhook_pauses\.note is required/],
  ['renames a column', { until: '' }, [], /column webhook_pauses\.until is missing/],
  [
    'says that it breaks older versions',
    {},
    ['-- stockroom: breaking\ncreate table added (id bigint)'],
    /0001_newer is marked as breaking/,
  ],
]

/**
 * Returns why a database is not ready for its version. Failures of the database itself are retried, since a busy machine answers slowly.
 */
async function whyNotReady(db: Database): Promise<string | undefined> {
  for (;;) {
    try {
      await db.checkReady()
      return undefined
    } catch (error) {
      if (db.classifyFailure(error) === undefined) return error instanceof Error ? error.message : String(error)
    }
  }
}

for (const [what, changes, more, says] of rollouts) {
  onEach(`an older instance is ${says ? 'not ' : ''}ready when a newer version ${what}`, async (t, dialect) => {
    const url = await dialect.create(t)
    const older = await openDatabase(t, url)
    await older.migrate()
    await older.checkReady()
    const kinds: Record<string, string> = { webhook: 'bigint not null references webhooks (id)' }
    const time = dialect.name === 'pg' ? 'timestamptz' : 'text'
    const columns = Object.entries({ ...kinds, until: `${time} not null`, ...changes }).filter(([, kind]) => kind)
    const rebuilt = `create table webhook_pauses (${columns.map((column) => column.join(' ')).join(', ')})`
    const index = 'create unique index webhook_pauses_webhook on webhook_pauses (webhook)'
    const statements = Object.keys(changes).length > 0 ? ['drop table webhook_pauses', rebuilt, index] : []
    const tables = (kit: Kit): Tables => {
      const { webhook_pauses, ...tables } = defineTables(kit)
      return tables as Tables
    }
    const version = await createVersion(t, dialect, { '0001_newer': [...statements, ...more] })
    const newer = await version(url, { served: SERVED, tables })
    t.teardown(() => newer.close())
    t.equal((await newer.migrate())[0], '0001_newer')
    const reason = await whyNotReady(older)
    if (says) t.match(reason, says)
    else t.equal(reason, undefined)
    const [row] = await older.read.all<{ count: number }>(sql`select count(*) as count from products`)
    t.equal(Number(row?.count), 0, 'the older instance answers')
  })
}

onEach('consumer offsets survive the renaming of their table, which older instances cannot use', async (t, dialect) => {
  const url = await dialect.create(t)
  const query = await connect(t, url)
  const tables = (kit: Kit): Tables => {
    const { consumer_offsets, ...others } = defineTables(kit)
    const cursors = kit.table('cursors', { name: kit.text().primaryKey(), change: kit.integer().notNull() })
    return { ...others, cursors } as unknown as Tables
  }
  const version = await createVersion(t, dialect, {}, undefined, '0003_jobs_and_webhooks')
  const older = await version(url, { served: SERVED, tables })
  t.teardown(() => older.close())
  await older.migrate()
  await query(`insert into cursors (name, change) values ('webhooks', 42)`)
  const newer = await openDatabase(t, url)
  t.equal((await newer.migrate())[0], '0004_consumer_offsets')
  const { consumer_offsets } = newer.tables
  t.strictSame(await newer.read.select().from(consumer_offsets), [{ name: 'webhooks', change: 42 }])
  t.equal(await whyNotReady(newer), undefined)
  t.match(await whyNotReady(older), /0004_consumer_offsets is marked as breaking; table cursors is missing/)
})

onEach('a search table whose fields changed is rebuilt, and the others are kept', async (t, dialect) => {
  const url = await dialect.create(t)
  const older = await openDatabase(t, url, open, [
    categories.served,
    { table: 'products', foldedFields: ['name'], prefixedFields: ['name'] },
  ])
  await older.migrate()
  const now = '2026-01-01T00:00:00.000Z'
  await older.write((tx) =>
    tx.insert(older.tables.products).values({ name: 'Shirt', brand: 'ACME', price: '1.00', created_at: now, updated_at: now }),
  )
  const newer = await openDatabase(t, url)
  await t.rejects(newer.checkReady(), /products_search.*stockroom migrate/)
  t.same(await newer.migrate(), ['products_search'])
  await newer.checkReady()
  t.same(await findIds(newer, newer.dialect.contains('products', newer.tables.products.id, ['brand'], ['acme'])), [1])
})

onEach('concurrent migrations of an empty database by several instances succeed', async (t, dialect) => {
  const url = await dialect.create(t)
  const instances = await Promise.all(Array.from({ length: 4 }, () => openDatabase(t, url)))
  const applied = await Promise.all(instances.map((db) => db.migrate()))
  t.equal(applied.filter((names) => names.length > 0).length, 1, 'one instance migrated it')
  await Promise.all(instances.map((db) => db.checkReady()))
})

const MIGRATE = `
  import { open } from './drizzle/open.ts'
  const db = await open(process.argv[1], { served: JSON.parse(process.argv[2]) })
  process.stdout.write(JSON.stringify(await db.migrate()))
  await db.close()`

onEach('concurrent migrations of an empty database by several processes succeed', async (t, dialect) => {
  const url = await dialect.create(t)
  const migrate = async (): Promise<string[]> => {
    const child = startNode(t, ['--input-type=module', '--eval', MIGRATE, url, JSON.stringify(SERVED)], {}, fileURLToPath(ROOT))
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    t.equal(code, 0, err)
    return JSON.parse(out)
  }
  const applied = await Promise.all([migrate(), migrate()])
  t.equal(applied.filter((names) => names.length > 0).length, 1, 'one process migrated it')
  await (await openDatabase(t, url)).checkReady()
})

onEach('migrations are read and hashed once, however often readiness is checked', async (t, dialect) => {
  const db = await openDatabase(t, await dialect.create(t))
  await db.migrate()
  const folder = t.testdir()
  cpSync(new URL(`drizzle/${dialect.name}/migrations`, ROOT), folder, { recursive: true })
  let hashed = 0
  const other: DerivedPart = {
    name: 'stockroom_feed',
    isLostInRebuild: false,
    needs: ['table nowhere'],
    get statements() {
      hashed++
      return []
    },
    fill: async () => {},
  }
  const none = { declaredParts: new Map(), read: async () => new Set<string>(), readRequired: async () => new Map() }
  const check = createCompatibilityCheck(pathToFileURL(`${folder}/`), [other], none)
  await t.rejects(check(db.read), { message: /behind the code \(stockroom_feed\)/ })
  rmSync(folder, { recursive: true })
  await t.rejects(check(db.read), { message: /behind the code \(stockroom_feed\)/ }, 'the files are not read again')
  t.equal(hashed, 1)
})
