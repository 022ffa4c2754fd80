// The feed in pages: every write appears, and nothing is ever inserted before a position already read.
import { setTimeout } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import t from 'tap'
import type { Database } from '../../drizzle/database.ts'
import { issueKey } from '../../src/auth/keys.ts'
import { readEntries } from '../../src/changelog/read.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import { MAX_PAGE_BYTES, readPage } from '../../src/feed/page.ts'
import { readEnd } from '../../src/feed/positions.ts'
import { pruneChanges } from '../../src/feed/prune.ts'
import type { App } from '../../src/http/routes.ts'
import { importProducts } from '../../src/transfer/import.ts'
import { connect, DIALECTS, existing } from '../dialects.ts'
import { ask, build, get, lines, onEach } from '../helper.ts'
import { readAll, readAtLeast, waitForFeed } from './feed.ts'

const shirt = { sku: 'A', name: 'Shirt', price: '29.90' }

onEach('every write is in the feed with the state after it', async (t, dialect) => {
  const app = await build(t, dialect)
  const post = (url: string, payload: object, id: string) => ask(app, 'POST', url, payload, { 'x-request-id': id })
  const { body: clothing } = await post('/api/categories/', { name: 'Clothing' }, 'r1')
  const { body: product } = await post('/api/products/', { ...shirt, category: clothing.id }, 'r2')
  const { body: replaced } = await ask(app, 'PUT', '/api/products/1/', { name: 'Coat', price: '5' })
  const { body: changed } = await post('/api/products/1/stock/', { delta: 3, reason: 'came' }, 'r4')
  const bulk = [
    { op: 'create', body: { sku: 'B', name: 'Hat', price: 1 } },
    { op: 'upsert', body: { sku: 'B', name: 'Cap', price: 1 } },
    { op: 'delete', id: 1 },
  ]
  t.equal((await post('/api/products/bulk/', { operations: bulk }, 'r5')).status, 200)
  await importProducts(
    app.db,
    lines([
      { sku: 'B', price: 2 },
      { sku: 'C', name: 'Sock', price: 3, category: ['Clothing', 'Socks'] },
    ]),
  )
  const { entries } = await readAtLeast(app, 10)
  const { body: cap } = await get(app, '/api/products/2/')
  const { body: sock } = await get(app, '/api/products/3/')
  t.match(
    entries.map(({ resource, operation, id, version, request, reason, record }) => [
      resource,
      operation,
      id,
      version,
      request,
      reason,
      record,
    ]),
    [
      ['categories', 'create', 1, 1, 'r1', null, clothing],
      ['products', 'create', 1, 1, 'r2', null, product],
      ['products', 'update', 1, 2, /./, null, replaced],
      ['products', 'update', 1, 3, 'r4', 'came', changed],
      ['products', 'create', 2, 1, 'r5', null, { name: 'Hat', version: 1 }],
      ['products', 'update', 2, 2, 'r5', null, { name: 'Cap', version: 2 }],
      ['products', 'delete', 1, 3, 'r5', null, null],
      ['categories', 'create', 2, 1, null, null, { name: 'Socks', parent: 1 }],
      ['products', 'create', 3, 1, null, null, sock],
      ['products', 'update', 2, 3, null, null, cap],
    ],
  )
  t.strictSame(entries[3]?.changes, { stock: [0, 3] })
  t.match(entries[6]?.changes, { name: ['Coat', null], stock: [3, null] }, 'a deletion shows the old values')
  t.equal(entries.length, 10)
})

onEach('pages follow each other, and any position continues the feed', async (t, dialect) => {
  const app = await build(t, dialect)
  for (let n = 0; n < 7; n++) await ask(app, 'POST', '/api/products/', { name: `${n}`, price: 1 })
  const { entries, position } = await readAtLeast(app, 7)
  t.strictSame(new Set(entries.map(({ position }) => position)).size, 7)
  t.equal(entries.at(-1)?.position, position)
  const first = (await get(app, '/api/changes/?page_size=3&resource=products')).body
  t.match(first, { more: true, position: entries[2]?.position, results: { length: 3 } })
  t.equal(first.next, `http://localhost:80/api/changes/?page_size=3&resource=products&since=${entries[2]?.position}`)
  const paged = await readAll(app, '', '&page_size=3&resource=products')
  t.strictSame(paged, { entries, position })
  for (const [n, { position }] of entries.entries())
    t.strictSame((await readAll(app, position)).entries, entries.slice(n + 1), 'the position of any entry continues the feed')
  const now = (await get(app, '/api/changes/?since=now')).body
  t.match(now, { position, more: false, results: { length: 0 } })
  t.match((await get(app, now.next.replace('http://localhost:80', ''))).body, { position, more: false, results: { length: 0 } })
})

onEach('a position of another log is refused', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  const { position } = await readAtLeast(app, 1)
  for (const since of ['x', '1', '-1', `${position}x`, position.replace('-', '_'), '00-AAAAAAAA', '0-AAAAAAAA', 'Now']) {
    const { status, body } = await get(app, `/api/changes/?since=${since}`)
    t.match([status, body.code, body.errors], [400, 'invalid-request', [{ parameter: 'since' }]], since)
  }
  const other = `${position.slice(0, -1)}${position.endsWith('A') ? 'B' : 'A'}`
  for (const since of [other, '999999-AAAAAAAA']) {
    const { status, body } = await get(app, `/api/changes/?since=${since}`)
    t.match([status, body.code, body.detail], [410, 'position-gone', /Read all records again/], since)
  }
  t.match(await get(app, '/api/changes/?resource=product'), {
    status: 400,
    body: {
      errors: [
        {
          parameter: 'resource',
          detail: 'is not a resource; did you mean products?',
          allowed: app.resources.map(({ table }) => table),
          suggestion: 'products',
        },
      ],
    },
  })
  t.equal((await get(app, '/api/changes/?page_size=1001')).status, 400)
})

onEach('a position is gone when its id belongs to another change', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  const { position } = await readAtLeast(app, 1)
  t.equal((await get(app, `/api/changes/?since=${position}`)).status, 200)
  await app.db.write((tx) => tx.run(sql`update changes set record_id = 2 where record_id = 1 and resource = 'products'`))
  t.equal((await get(app, `/api/changes/?since=${position}`)).status, 410)
})

onEach('entries of keys are shown to admins only, and authors to admins and themselves', async (t, dialect) => {
  const app = await build(t, dialect)
  const [one, two] = [
    await issueKey(app.db, { name: 'One', role: 'write' }, COMMAND_LINE),
    await issueKey(app.db, { name: 'Two', role: 'write' }, COMMAND_LINE),
  ]
  const by = (token: string) => ({ authorization: `Bearer ${token}`, 'x-request-id': 'mine' })
  await ask(app, 'POST', '/api/products/', shirt, by(one.token))
  await waitForFeed(app)
  const readFeed = async (token?: string, query = '') =>
    (await ask(app, 'GET', `/api/changes/${query}`, undefined, token ? by(token) : {})).body
  const summariseAuthors = (page: { results: { resource: string; key: unknown; request: unknown }[] }) =>
    page.results.map(({ resource, key, request }) => [resource, key, request])
  const keys = Array(3).fill(['keys', null, null])
  t.strictSame(summariseAuthors(await readFeed()), [...keys, ['products', one.record.id, 'mine']])
  t.strictSame(summariseAuthors(await readFeed(one.token)), [['products', one.record.id, 'mine']])
  t.strictSame(summariseAuthors(await readFeed(two.token)), [['products', null, null]])
  t.strictSame(summariseAuthors(await readFeed(two.token, '?resource=keys')), [])
  const filtered = await readFeed(two.token, '?page_size=2')
  t.match([filtered.results, filtered.more], [[], true], 'entries of other resources are skipped')
  t.notMatch(JSON.stringify(await readFeed()), /sha256|stk_/)
})

onEach('a filtered page scans a limited number of entries', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await importProducts(app.db, lines(Array.from({ length: 1_500 }, (_, n) => ({ sku: `${n}`, name: 'Shirt', price: n }))))
  await ask(app, 'POST', '/api/categories/', { name: 'Shoes' })
  await waitForFeed(app)
  const first = (await get(app, '/api/changes/?resource=categories')).body
  t.match([first.results.length, first.more], [1, true])
  t.not(first.position, first.results[0].position, 'the position is that of the last scanned entry')
  const second = (await get(app, first.next.replace('http://localhost:80', ''))).body
  t.match([second.results.length, second.more, second.results[0].record], [1, false, { name: 'Shoes' }])
})

/** Adds `count` changes of a product to the log, with `bytes` each. */
async function addLarge(app: App, count: number, bytes: number): Promise<void> {
  const at = app.db.tables.changes.at.mapToDriverValue(new Date().toISOString())
  const fields = JSON.stringify({ description: ['', 'x'.repeat(bytes)] })
  await app.db.write(async (tx) => {
    for (let version = 1; version <= count; version++)
      await tx.run(sql`insert into changes (resource, record_id, operation, version, at, fields, state)
        values ('products', 1, 'update', ${version}, ${at}, ${fields}, '{"id":1}')`)
  })
}

onEach('a page is limited in bytes but has at least one entry', async (t, dialect) => {
  const app = await build(t, dialect)
  await waitForFeed(app)
  const start = (await readAll(app)).position
  await addLarge(app, 25, 100_000)
  await addLarge(app, 2, 2 * MAX_PAGE_BYTES)
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await readAtLeast(app, 28, start)
  const versions: number[] = []
  const pages: number[] = []
  for (let url = `/api/changes/?page_size=1000&since=${start}`; url; ) {
    const { body } = await get(app, url)
    pages.push(body.results.length)
    versions.push(...body.results.map(({ version }: { version: number }) => version))
    const bytes = JSON.stringify(body.results).length
    t.ok(body.results.length === 1 || bytes < 1.1 * MAX_PAGE_BYTES, `${bytes} bytes`)
    url = body.more ? body.next.replace(/^https?:\/\/[^/]*/, '') : ''
  }
  t.strictSame(pages, [10, 10, 5, 1, 1, 1])
  t.strictSame(versions, [...Array.from({ length: 25 }, (_, n) => n + 1), 1, 2, 1])
})

onEach('a filter reads only the heads of skipped entries, and scans in slices', async (t, dialect) => {
  const app = await build(t, dialect)
  await waitForFeed(app)
  const since = await readEnd(app.db)
  await addLarge(app, 600, 10_000)
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await addLarge(app, 600, 10_000)
  await waitForFeed(app)
  const reads: { rows: number; bytes: number }[] = []
  const rows: Database['readRows'] = async (query, values) => {
    const result = await app.db.readRows(query, values)
    reads.push({ rows: result.length, bytes: JSON.stringify(result).length })
    return result
  }
  const reader = { key: { id: 1, role: 'read' as const }, resources: app.resources, resource: 'categories' }
  const page = await readPage({ ...app.db, readRows: rows }, since, 100, reader)
  t.match([page.results.map(({ event }) => event), page.more], [['categories.create'], true])
  t.ok(
    reads.every(({ rows }) => rows <= 251),
    'every statement reads a limited number of rows',
  )
  t.ok(reads.reduce((sum, { bytes }) => sum + bytes, 0) < 200_000, 'only heads of skipped entries are read')
  const rest = await readPage({ ...app.db, readRows: rows }, page.position, 100, reader)
  t.match([rest.results, rest.more], [[], false])
})

/** Makes all entries of the log old. */
async function ageEntries(app: App): Promise<void> {
  const old = new Date(Date.now() - 100 * 86_400_000).toISOString()
  const { changes } = app.db.tables
  await app.db.write((tx) => tx.update(changes).set({ at: old }))
}

const KEEPS = { env: { CHANGES_KEEP_DAYS: '0' } }
const before = () => new Date(Date.now() - 90 * 86_400_000)

onEach('410 means that entries after the position were pruned', async (t, dialect) => {
  const app = await build(t, dialect, KEEPS)
  await app.db.write((tx) => tx.delete(app.db.tables.changes))
  const beginning = (await get(app, '/api/changes/')).body.position
  t.equal(beginning, '0')
  t.equal((await get(app, '/api/changes/?since=0')).status, 200)
  for (const sku of ['A', 'B', 'C']) await ask(app, 'POST', '/api/products/', { ...shirt, sku })
  await ageEntries(app)
  await ask(app, 'POST', '/api/products/', { ...shirt, sku: 'D' })
  const { entries } = await readAtLeast(app, 4)
  const [a, b, c, d] = entries.map(({ position }) => position)
  t.equal(await pruneChanges(app.db, before()), 3)
  const readStatus = async (since = '') => (await get(app, `/api/changes/?since=${since}`)).status
  t.strictSame(await Promise.all([beginning, a, b, c, d].map(readStatus)), [410, 410, 410, 200, 200])
  t.strictSame((await readAll(app, c)).entries, entries.slice(3), 'nothing is missing after the last pruned position')
  t.strictSame((await readAll(app)).entries, entries.slice(3), 'without a position the feed begins at the first kept entry')

  await ageEntries(app)
  await waitForFeed(app)
  t.equal(await pruneChanges(app.db, before()), 1)
  t.equal(await readStatus(c), 410)
  const empty = (await get(app, '/api/changes/')).body
  t.match(empty, { results: { length: 0 }, more: false })
  t.equal((await get(app, '/api/changes/?since=now')).body.position, empty.position)
  await ask(app, 'POST', '/api/products/', { ...shirt, sku: 'E' })
  t.match((await readAtLeast(app, 1, empty.position)).entries, [{ record: { sku: 'E' } }])
})

onEach('nothing is pruned if the pruned position cannot be stored', async (t, dialect) => {
  const app = await build(t, dialect, KEEPS)
  for (let n = 0; n < 3; n++) await ask(app, 'POST', '/api/products/', { name: `${n}`, price: 1 })
  await ageEntries(app)
  await waitForFeed(app)
  const { entries } = await readAll(app)
  const query = await connect(t, app.config.DATABASE_URL)
  await query('alter table stockroom_feed rename to elsewhere')
  await t.rejects(pruneChanges(app.db, before()))
  await query('alter table elsewhere rename to stockroom_feed')
  t.strictSame((await readAll(app)).entries, entries)
})

onEach('concurrent pruning by two processes stores the last pruned position', async (t, dialect) => {
  const app = await build(t, dialect, KEEPS)
  await importProducts(app.db, lines(Array.from({ length: 3_000 }, (_, n) => ({ sku: `${n}`, name: 'Shirt', price: n }))))
  await ageEntries(app)
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  const { entries } = await readAtLeast(app, 3_001)
  const other = await build(t, existing(dialect, app.config.DATABASE_URL), KEEPS)
  await Promise.all([pruneChanges(app.db, before()), pruneChanges(other.db, before())])
  const last = entries.at(-2)?.position
  t.strictSame((await readAll(app, last)).entries, (await readAll(app)).entries, 'the position of the last pruned entry holds')
  t.equal((await get(app, `/api/changes/?since=${entries.at(-3)?.position}`)).status, 410)
})

const insert = (record: number) =>
  `insert into changes (resource, record_id, operation, version, at, fields) values ('products', ${record}, 'update', 1, now(), '{}')`

for (const dialect of DIALECTS.filter(({ name }) => name === 'pg')) {
  t.test('an entry of a later transaction waits for an earlier one to commit [pg]', { skip: dialect.skip }, async (t) => {
    const app = await build(t, dialect)
    await waitForFeed(app)
    const start = (await readAll(app)).position
    const [first, second] = [await connect(t, app.config.DATABASE_URL), await connect(t, app.config.DATABASE_URL)]
    await first('begin')
    await first(insert(1))
    await second('begin')
    await second(insert(2))
    await second('commit')
    const [byId] = await second('select max(id) as id from changes')
    t.strictSame((await readAll(app, start)).entries, [], 'the second entry is held back while the first transaction is open')
    while ((await get(app, '/readyz')).body.feed_lag_seconds === 0) await setTimeout(5)
    t.ok((await get(app, '/api/changes/')).body.lag_seconds > 0)
    await first('commit')
    const { entries } = await readAtLeast(app, 2, start)
    t.strictSame(
      entries.map(({ id }) => id),
      [1, 2],
    )
    const laterIds = await second(`select record_id from changes where id > ${byId?.id}`)
    t.strictSame(laterIds, [], 'a feed by id alone would have missed the first')
  })

  t.test('entries are ordered by transaction before id [pg]', { skip: dialect.skip }, async (t) => {
    const app = await build(t, dialect)
    const [early, late] = [await connect(t, app.config.DATABASE_URL), await connect(t, app.config.DATABASE_URL)]
    await waitForFeed(app)
    const start = (await readAll(app)).position
    // The first transaction gets its number early but writes last.
    await early('begin')
    await early('select pg_current_xact_id()')
    await late('begin')
    await late(insert(1))
    await early(insert(2))
    await early('commit')
    const [only] = (await readAtLeast(app, 1, start)).entries
    await late('commit')
    const { entries } = await readAtLeast(app, 2, start)
    t.strictSame(
      entries.map(({ id }) => id),
      [2, 1],
      'ordered by transaction, not by id',
    )
    t.equal(entries[0]?.position, only?.position)
    t.strictSame((await readAtLeast(app, 1, only?.position)).entries, entries.slice(1))
  })

  t.test('a restored database in another cluster keeps safe positions and refuses others [pg]', { skip: dialect.skip }, async (t) => {
    const app = await build(t, dialect, KEEPS)
    for (let n = 0; n < 5; n++) await ask(app, 'POST', '/api/products/', { name: `${n}`, price: 1 })
    const { entries } = await readAtLeast(app, 5)
    const query = await connect(t, app.config.DATABASE_URL)
    await app.close()
    // A cluster with higher transaction numbers could have written these. The second and third transactions are not in the order of their
    // ids.
    const [two = '', three = ''] = entries.slice(1, 3).map(({ position }) => position.split('-')[0])
    await query('update changes set transaction = ((transaction::text::numeric + 1000000000)::text)::xid8')
    await query(`update changes set transaction = (select transaction from changes where id = ${three}) where id = ${two}`)
    await query(`update changes set transaction = (transaction::text::numeric - 1)::text::xid8 where id = ${three}`)
    const again = await build(t, existing(dialect, app.config.DATABASE_URL), KEEPS)
    const positions = entries.map(({ position }) => position)
    const statuses = await Promise.all(positions.map(async (since) => (await get(again, `/api/changes/?since=${since}`)).status))
    t.strictSame(statuses, [410, 410, 410, 200, 200], 'a position is refused if the order around it differs')
    const anew = await readAtLeast(again, 5)
    t.strictSame(
      anew.entries.map(({ id }) => id),
      entries.map(({ id }) => id),
    )
    t.strictSame((await readAtLeast(again, 4, anew.entries[0]?.position)).entries, anew.entries.slice(1), 'a new position holds')
    await ask(again, 'POST', '/api/products/', { name: 'new', price: 1 })
    t.match((await readAtLeast(again, 6)).entries[5], { record: { name: 'new' } }, 'new changes come last')
    t.strictSame(await again.db.migrate(), [], 'the adjustment is made once')
  })
}

onEach('the internal reader of the log sees the same entries as the feed', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  await waitForFeed(app)
  const log = await readEntries(app.db.read, app.db, 0, 10)
  const { entries } = await readAll(app)
  t.strictSame(
    log.map(({ resource, record, state }) => [resource, record, state]),
    entries.map(({ resource, id, record }) => [resource, id, record]),
  )
})
