// The change log records every write completely.
import { setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import { pruneChanges } from '../../src/feed/prune.ts'
import type { App } from '../../src/http/routes.ts'
import { products } from '../../src/resources/products.ts'
import { importProducts } from '../../src/transfer/import.ts'
import { connect, DIALECTS, type Dialect, existing } from '../dialects.ts'
import { ask, build, get, lines, onEach } from '../helper.ts'
import { sampleBody } from '../sample.ts'

interface Entry {
  id: number
  resource: string
  record_id: number
  operation: string
  version: number
  key_id: number | null
  request_id: string | null
  at: string
  fields: Record<string, [unknown, unknown]>
}

/** Returns all log entries in order, except those of keys. */
async function readLog({ db }: App): Promise<Entry[]> {
  const { changes } = db.tables
  const rows = await db.read.select().from(changes).orderBy(changes.id)
  return rows.filter(({ resource }) => resource !== 'keys').map(({ state: _, ...row }) => ({ ...row, fields: JSON.parse(row.fields) }))
}

const shirt = { sku: 'A', name: 'Shirt', price: '29.90' }

onEach('each write is logged with its changes, its key and its request', async (t, dialect) => {
  const app = await build(t, dialect)
  const { record, token } = await issueKey(app.db, { name: 'Shop', role: 'write' }, COMMAND_LINE)
  const by = (request: string) => ({ authorization: `Bearer ${token}`, 'x-request-id': request })
  const { body: clothing } = await ask(app, 'POST', '/api/categories/', { name: 'Clothing' }, by('r1'))
  const { body: product } = await ask(app, 'POST', '/api/products/', { ...shirt, category: clothing.id }, by('r2'))
  await ask(app, 'PATCH', '/api/products/1/', { price: '19.9', stock: 3, name: 'Shirt' }, by('r3'))
  await ask(app, 'PATCH', '/api/products/1/', { price: 19.9 }, by('nothing changes'))
  const { body: replaced } = await ask(app, 'PUT', '/api/products/1/', { name: 'Coat', price: '5' }, by('r4'))
  await ask(app, 'PATCH', '/api/categories/1/', { name: 'Clothes' }, by('r5'))
  await ask(app, 'DELETE', '/api/products/1/', undefined, by('r6'))

  const entry = (request_id: string, resource: string, operation: string, version: number, fields: object) => ({
    resource,
    record_id: 1,
    operation,
    version,
    key_id: record.id,
    request_id,
    fields,
    reason: null,
  })
  const log = await readLog(app)
  t.strictSame(
    log
      .map(({ id: _, at: _at, ...rest }) => ({ ...rest, ...('transaction' in rest && { transaction: undefined }) }))
      .map((rest) => JSON.parse(JSON.stringify(rest))),
    [
      entry('r1', 'categories', 'create', 1, {
        name: [null, 'Clothing'],
        slug: [null, 'clothing'],
        parent: [null, null],
        created_at: [null, clothing.created_at],
      }),
      entry('r2', 'products', 'create', 1, {
        sku: [null, 'A'],
        name: [null, 'Shirt'],
        description: [null, ''],
        price: [null, '29.90'],
        stock: [null, 0],
        brand: [null, ''],
        category: [null, 1],
        created_at: [null, product.created_at],
      }),
      entry('r3', 'products', 'update', 2, { price: ['29.90', '19.90'], stock: [0, 3] }),
      entry('r4', 'products', 'update', 3, {
        sku: ['A', null],
        name: ['Shirt', 'Coat'],
        price: ['19.90', '5.00'],
        stock: [3, 0],
        category: [1, null],
      }),
      entry('r5', 'categories', 'update', 2, { name: ['Clothing', 'Clothes'], slug: ['clothing', 'clothes'] }),
      entry('r6', 'products', 'delete', 3, {
        sku: [null, null],
        name: ['Coat', null],
        description: ['', null],
        price: ['5.00', null],
        stock: [0, null],
        brand: ['', null],
        category: [null, null],
        created_at: [replaced.created_at, null],
      }),
    ],
  )
  t.ok(log.every(({ at }) => Math.abs(Date.parse(at) - Date.now()) < 60_000))
  const ids = log.map(({ id }) => id)
  t.strictSame(
    ids,
    [...ids].sort((a, b) => a - b),
  )
})

onEach('refused writes leave no log entry', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await ask(app, 'POST', '/api/products/', { ...shirt, category: 1 })
  const before = await readLog(app)
  for (const [method, url, payload, status] of [
    ['POST', '/api/products/', shirt, 409],
    ['POST', '/api/products/', { ...shirt, sku: 'B', category: 9 }, 400],
    ['PATCH', '/api/products/1/', { category: 9 }, 400],
    ['PATCH', '/api/products/9/', { stock: 1 }, 404],
    ['PATCH', '/api/categories/1/', { parent: 1 }, 409],
    ['DELETE', '/api/categories/1/', undefined, 409],
    ['DELETE', '/api/products/9/', undefined, 404],
  ] as const)
    t.equal((await ask(app, method, url, payload)).status, status)
  await t.rejects(importProducts(app.db, lines([{ ...shirt, sku: 'C' }, { sku: 'D' }])))
  t.strictSame(await readLog(app), before)
})

onEach('concurrent changes of one record form a chain of versions', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  await Promise.all(Array.from({ length: 8 }, (_, n) => ask(app, 'PATCH', '/api/products/1/', { stock: n + 1 })))
  const chain = (await readLog(app)).slice(1).sort((a, b) => a.version - b.version)
  t.equal(chain.length, 8)
  let last: unknown = 0
  for (const [place, { version, fields }] of chain.entries()) {
    t.strictSame([version, fields.stock?.[0]], [place + 2, last])
    last = fields.stock?.[1]
  }
  t.equal((await get(app, '/api/products/1/')).body.stock, last)
})

onEach('an import logs each changed record', async (t, dialect) => {
  const app = await build(t, dialect)
  await importProducts(
    app.db,
    lines([
      { ...shirt, category: ['Clothing', 'Shirts'] },
      { sku: 'B', name: 'Hat', price: 1 },
    ]),
    { by: { key: 7, request: 'import' } },
  )
  const first = await readLog(app)
  t.match(
    first.map(({ resource, operation, record_id, version, key_id, request_id }) => [
      resource,
      operation,
      record_id,
      version,
      key_id,
      request_id,
    ]),
    [
      ['categories', 'create', 1, 1, 7, 'import'],
      ['categories', 'create', 2, 1, 7, 'import'],
      ['products', 'create', 1, 1, 7, 'import'],
      ['products', 'create', 2, 1, 7, 'import'],
    ],
  )
  await importProducts(
    app.db,
    lines([
      { ...shirt, price: '30', category: ['Clothing'] },
      { sku: 'B', name: 'Hat' },
      { sku: 'C', name: 'Coat', price: 2 },
    ]),
  )
  t.match(
    (await readLog(app))
      .slice(first.length)
      .map(({ operation, record_id, version, key_id, fields }) => [operation, record_id, version, key_id, fields]),
    [
      ['create', 3, 1, null, { sku: [null, 'C'], category: [null, null] }],
      ['update', 1, 2, null, { price: ['29.90', '30.00'], category: [2, 1] }],
    ],
    'only changed fields are logged',
  )
})

onEach('an import of several batches logs each change once', async (t, dialect) => {
  const app = await build(t, dialect)
  const rows = Array.from({ length: 1_203 }, (_, n) => ({ sku: `S-${n}`, name: 'Shirt', price: n }))
  await importProducts(app.db, lines(rows))
  await importProducts(app.db, lines(rows.map((row, n) => (n % 2 ? { ...row, price: n + 0.5 } : row))))
  const log = await readLog(app)
  t.equal(log.filter(({ operation }) => operation === 'create').length, 1_203)
  const changed = log.filter(({ operation }) => operation === 'update')
  t.strictSame(
    changed.map(({ fields }) => fields),
    rows.flatMap((_, n) => (n % 2 ? [{ price: [`${n}.00`, `${n}.50`] }] : [])),
  )
})

onEach('the entry of a new record has every field of its contract and no other column', async (t, dialect) => {
  const app = await build(t, dialect, { env: { WEBHOOK_ALLOW_PRIVATE: 'true' } })
  await importProducts(app.db, lines([{ ...shirt, category: ['Clothing'] }]))
  await ask(app, 'POST', '/api/webhooks/', { url: 'https://example.com/', events: ['*'] })
  const { changes } = app.db.tables
  // The service writes the other resources itself and logs no change.
  const resources = app.resources.filter(({ writable }) => writable.size > 0)
  const existing = await app.db.read.select().from(changes)
  for (const resource of resources.filter(({ table }) => !existing.some((row) => row.resource === table)))
    t.equal((await ask(app, 'POST', `/api/${resource.table}/`, sampleBody(resource))).status, 201, resource.table)
  const rows = await app.db.read.select().from(changes)
  for (const { table, contract } of resources) {
    const [creation] = rows.filter(({ resource, operation }) => resource === table && operation === 'create')
    const expected = Object.keys(contract).filter((field) => !['id', 'version', 'updated_at'].includes(field))
    t.strictSame(Object.keys(JSON.parse(creation?.fields ?? '{}')), expected, table)
  }
})

for (const dialect of DIALECTS.filter(({ name }) => name === 'pg')) {
  t.test('an entry names its transaction [pg]', { skip: dialect.skip }, async (t) => {
    const app = await build(t, dialect)
    const query = await connect(t, app.config.DATABASE_URL)
    await importProducts(app.db, lines([{ ...shirt, category: ['Clothing'] }]))
    await ask(app, 'PATCH', '/api/products/1/', { stock: 1 })
    const rows = await query(
      `select transaction::text, transaction < pg_snapshot_xmax(pg_current_snapshot()) as past from changes where resource <> 'keys' order by id`,
    )
    const [category, product, patch] = rows.map(({ transaction }) => BigInt(String(transaction)))
    t.equal(category, product, 'an import is one transaction')
    t.ok(patch && product && patch > product, 'the next write is another transaction')
    t.ok(rows.every(({ past }) => past === true))
  })

  t.test('an import logs the state that a concurrent transaction left as the old one [pg]', { skip: dialect.skip }, async (t) => {
    const app = await build(t, dialect)
    const [holder, query] = [await connect(t, app.config.DATABASE_URL), await connect(t, app.config.DATABASE_URL)]
    for (const sku of ['A', 'B']) await ask(app, 'POST', '/api/products/', { ...shirt, sku })
    await holder('begin')
    await holder('update products set stock = 5')
    const imported = importProducts(
      app.db,
      lines([
        { sku: 'A', stock: 7 },
        { sku: 'B', stock: 5 },
      ]),
    )
    while ((await query('select 1 from pg_locks where not granted')).length === 0) await setTimeout(5)
    await holder('commit')
    t.strictSame(await imported, { created: 0, updated: 1, unchanged: 1 })
    t.match((await readLog(app)).slice(2), [{ operation: 'update', record_id: 1, version: 3, fields: { stock: [5, 7] } }])
    t.equal((await readLog(app)).length, 3, 'a line that became equal to the record is not logged')
  })
}

/** Reconstructs the records of a resource from the log. */
function replay(log: readonly Entry[], resource: string): Map<number, Record<string, unknown>> {
  const records = new Map<number, Record<string, unknown>>()
  for (const { operation, record_id, version, fields, ...entry } of log) {
    if (entry.resource !== resource) continue
    if (operation === 'delete') records.delete(record_id)
    else {
      const current = Object.fromEntries(Object.entries(fields).map(([field, [, value]]) => [field, value]))
      records.set(record_id, { ...records.get(record_id), ...current, id: record_id, version })
    }
  }
  return records
}

const value = fc.record(
  {
    name: fc.constantFrom('Shirt', 'Coat', 'Hat'),
    price: fc.constantFrom('1', '2.50'),
    stock: fc.nat(3),
    sku: fc.constantFrom(null, 'A', 'B', 'C'),
  },
  { requiredKeys: ['name', 'price'] },
)
const write = fc.record({ method: fc.constantFrom('POST', 'POST', 'PUT', 'PATCH', 'DELETE'), id: fc.integer({ min: 1, max: 12 }), value })

async function checkReplay(t: Test, dialect: Dialect): Promise<void> {
  const app = await build(t, dialect)
  await fc.assert(
    fc.asyncProperty(fc.array(write, { minLength: 1, maxLength: 12 }), async (writes) => {
      // Some of the writes are concurrent.
      await Promise.all(
        writes.map(({ method, id, value }) =>
          ask(app, method, method === 'POST' ? '/api/products/' : `/api/products/${id}/`, method === 'DELETE' ? undefined : value),
        ),
      )
      const { body } = await get(app, '/api/products/?page_size=100&ordering=id')
      const replayed = [...replay(await readLog(app), 'products').values()].sort((a, b) => Number(a.id) - Number(b.id))
      const fields = Object.keys(products.contract).filter((field) => field !== 'updated_at')
      const plain = (row: Record<string, unknown>) => fields.map((field) => row[field])
      t.strictSame(replayed.slice(0, 100).map(plain), body.results.map(plain))
    }),
    { numRuns: 20, seed: 7 },
  )
}

onEach('replaying the log reconstructs the records', checkReplay)

const LONG_AGO = Date.now() - 100 * 86_400_000

/** Adds `count` old entries to the log. */
async function addOldEntries(app: App, count: number): Promise<void> {
  const { changes } = app.db.tables
  const at = new Date(LONG_AGO).toISOString()
  const entry = { resource: 'products', record_id: 1, operation: 'update', version: 1, at, fields: '{}' }
  await app.db.write(async (tx) => {
    for (let remaining = count; remaining > 0; remaining -= 1_000)
      await tx.insert(changes).values(Array(Math.min(remaining, 1_000)).fill(entry))
  })
}

const KEEPS = { env: { CHANGES_KEEP_DAYS: '0' } }

onEach('requests are served while entries are pruned, and pruning stops on abort', async (t, dialect) => {
  const app = await build(t, dialect, KEEPS)
  await app.db.write((tx) => tx.delete(app.db.tables.changes))
  await addOldEntries(app, 20_000)
  const closing = new AbortController()
  const pruning = pruneChanges(app.db, new Date(), closing.signal)
  t.equal((await get(app, '/api/products/')).status, 200)
  const remaining = (await readLog(app)).length
  t.ok(remaining > 0, 'a request is answered before pruning ends', { remaining })
  closing.abort()
  const pruned = await pruning
  t.equal((await readLog(app)).length, 20_000 - pruned)
  t.ok(pruned < 20_000, 'pruning stops on abort', { pruned })
})

onEach('pruning removes old entries only', async (t, dialect) => {
  const app = await build(t, dialect, { env: { CHANGES_KEEP_DAYS: '0' } })
  const query = await connect(t, app.config.DATABASE_URL)
  await query('delete from changes')
  const old = dialect.name === 'pg' ? "now() - interval '100 days'" : String(Date.now() - 100 * 86_400_000)
  const row = (at: string) =>
    `insert into changes (resource, record_id, operation, version, at, fields) values ('products', 1, 'update', 1, ${at}, '{}')`
  for (let n = 0; n < 5; n++) await query(row(old))
  await query(row(dialect.name === 'pg' ? 'now()' : String(Date.now())))
  await query(row(old))
  const before = new Date(Date.now() - 90 * 86_400_000)
  t.equal(await pruneChanges(app.db, before), 5, 'pruning stops at the first newer entry')
  t.equal(await pruneChanges(app.db, before), 0)
  await query('delete from changes')
  const many =
    dialect.name === 'pg'
      ? 'select * from generate_series(1, 2500)'
      : 'with recursive n (n) as (select 1 union all select n + 1 from n where n < 2500) select n from n'
  await query(
    `insert into changes (resource, record_id, operation, version, at, fields) select 'products', 1, 'update', 1, ${old}, '{}' from (${many}) as numbers`,
  )
  t.equal(await pruneChanges(app.db, before), 2_500, 'pruning takes several steps')
  await query(row(old))
  await app.close()
  const keeps = await build(t, existing(dialect, app.config.DATABASE_URL), { env: { CHANGES_KEEP_DAYS: '0' } })
  await keeps.close()
  t.equal((await query("select * from changes where resource = 'products'")).length, 1, '0 keeps all entries')
  const env = { CHANGES_KEEP_DAYS: '99', WORKER: 'true' }
  await build(t, existing(dialect, app.config.DATABASE_URL), { env })
  // The loop ends when the worker has pruned the entry. Otherwise the test times out.
  while ((await query("select * from changes where resource = 'products'")).length > 0) await setTimeout(20)
  t.pass('a service with a worker prunes')
})
