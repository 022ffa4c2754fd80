// The feed page by page: that every write is in it, in an order in which nothing is ever put before what was read already.
import { setTimeout } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import t from 'tap'
import { COMMAND_LINE } from '../../src/changes.ts'
import { pruneChanges } from '../../src/feed/prune.ts'
import { issueKey } from '../../src/keys.ts'
import { readLog } from '../../src/log.ts'
import type { App } from '../../src/routes.ts'
import { importProducts } from '../../src/transfer/import.ts'
import { connect, DIALECTS } from '../dialects.ts'
import { ask, build, get, lines, onEach } from '../helper.ts'
import { readAll, readSoon, settled } from './feed.ts'

const shirt = { sku: 'A', name: 'Shirt', price: '29.90' }

onEach('every write is in the feed, with the record as it was afterwards', async (t, dialect) => {
  const app = await build(t, dialect)
  const post = (url: string, payload: object, id: string) => ask(app, 'POST', url, payload, { 'x-request-id': id })
  const { body: clothing } = await post('/api/categories/', { name: 'Clothing' }, 'r1')
  const { body: made } = await post('/api/products/', { ...shirt, category: clothing.id }, 'r2')
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
  const { entries } = await readSoon(app, 10)
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
      ['products', 'create', 1, 1, 'r2', null, made],
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
  t.match(entries[6]?.changes, { name: ['Coat', null], stock: [3, null] }, 'who was deleted is told by the old values')
  t.equal(entries.length, 10)
})

onEach('pages follow each other, and the position is where to go on', async (t, dialect) => {
  const app = await build(t, dialect)
  for (let n = 0; n < 7; n++) await ask(app, 'POST', '/api/products/', { name: `${n}`, price: 1 })
  const { entries, position } = await readSoon(app, 7)
  t.strictSame(new Set(entries.map(({ position }) => position)).size, 7)
  t.equal(entries.at(-1)?.position, position)
  const first = (await get(app, '/api/changes/?page_size=3&resource=products')).body
  t.match(first, { more: true, position: entries[2]?.position, results: { length: 3 } })
  t.equal(first.next, `http://localhost:80/api/changes/?page_size=3&resource=products&since=${entries[2]?.position}`)
  const paged = await readAll(app, '', '&page_size=3&resource=products')
  t.strictSame(paged, { entries, position })
  for (const [n, { position }] of entries.entries())
    t.strictSame((await readAll(app, position)).entries, entries.slice(n + 1), 'any entry is a place to go on from')
  const now = (await get(app, '/api/changes/?since=now')).body
  t.match(now, { position, more: false, results: { length: 0 } })
  t.match((await get(app, now.next.replace('http://localhost:80', ''))).body, { position, more: false, results: { length: 0 } })
})

onEach('a position that is none of this log is refused', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  const { position } = await readSoon(app, 1)
  for (const since of ['x', '1', '-1', `${position}x`, position.replace('-', '_'), '00-AAAAAAAA', '0-AAAAAAAA', 'Now']) {
    const { status, body } = await get(app, `/api/changes/?since=${since}`)
    t.match([status, body.code, body.errors], [400, 'invalid-request', [{ parameter: 'since' }]], since)
  }
  const other = `${position.slice(0, -1)}${position.endsWith('A') ? 'B' : 'A'}`
  for (const since of [other, '999999-AAAAAAAA']) {
    const { status, body } = await get(app, `/api/changes/?since=${since}`)
    t.match([status, body.code, body.detail], [410, 'position-gone', /read everything anew/], since)
  }
  t.match(await get(app, '/api/changes/?resource=product'), {
    status: 400,
    body: { errors: [{ parameter: 'resource', allowed: ['categories', 'keys', 'products'], suggestion: 'products' }] },
  })
  t.equal((await get(app, '/api/changes/?page_size=1001')).status, 400)
})

onEach('an id that was given to another change is no position', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  const { position } = await readSoon(app, 1)
  t.equal((await get(app, `/api/changes/?since=${position}`)).status, 200)
  await app.db.write((tx) => tx.run(sql`update changes set record_id = 2 where record_id = 1 and resource = 'products'`))
  t.equal((await get(app, `/api/changes/?since=${position}`)).status, 410)
})

onEach('what is for admins is shown to admins, and who did it to them and to who did it', async (t, dialect) => {
  const app = await build(t, dialect)
  const [one, two] = [
    await issueKey(app.db, { name: 'One', role: 'write' }, COMMAND_LINE),
    await issueKey(app.db, { name: 'Two', role: 'write' }, COMMAND_LINE),
  ]
  const by = (token: string) => ({ authorization: `Bearer ${token}`, 'x-request-id': 'mine' })
  await ask(app, 'POST', '/api/products/', shirt, by(one.token))
  await settled(app)
  const seen = async (token?: string, query = '') =>
    (await ask(app, 'GET', `/api/changes/${query}`, undefined, token ? by(token) : {})).body
  const said = (page: { results: { resource: string; key: unknown; request: unknown }[] }) =>
    page.results.map(({ resource, key, request }) => [resource, key, request])
  const keys = Array(3).fill(['keys', null, null])
  t.strictSame(said(await seen()), [...keys, ['products', one.record.id, 'mine']])
  t.strictSame(said(await seen(one.token)), [['products', one.record.id, 'mine']])
  t.strictSame(said(await seen(two.token)), [['products', null, null]])
  t.strictSame(said(await seen(two.token, '?resource=keys')), [])
  const skipped = await seen(two.token, '?page_size=2')
  t.match([skipped.results, skipped.more], [[], true], 'they are passed over')
  t.notMatch(JSON.stringify(await seen()), /sha256|stk_/)
})

onEach('a filter looks at so many entries and no more', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await importProducts(app.db, lines(Array.from({ length: 1_500 }, (_, n) => ({ sku: `${n}`, name: 'Shirt', price: n }))))
  await ask(app, 'POST', '/api/categories/', { name: 'Shoes' })
  await settled(app)
  const first = (await get(app, '/api/changes/?resource=categories')).body
  t.match([first.results.length, first.more], [1, true])
  t.not(first.position, first.results[0].position, 'the position is that of the last one looked at')
  const second = (await get(app, first.next.replace('http://localhost:80', ''))).body
  t.match([second.results.length, second.more, second.results[0].record], [1, false, { name: 'Shoes' }])
})

/** Puts old entries into the log, in its order before all others. */
async function age(app: App): Promise<void> {
  const old = new Date(Date.now() - 100 * 86_400_000).toISOString()
  const { changes } = app.db.tables
  await app.db.write((tx) => tx.update(changes).set({ at: old }))
}

const KEEPS = { env: { CHANGES_KEEP_DAYS: '0' } }
const before = () => new Date(Date.now() - 90 * 86_400_000)

onEach('410 is exact: who has missed nothing goes on', async (t, dialect) => {
  const app = await build(t, dialect, KEEPS)
  await app.db.write((tx) => tx.delete(app.db.tables.changes))
  const beginning = (await get(app, '/api/changes/')).body.position
  t.equal(beginning, '0')
  t.equal((await get(app, '/api/changes/?since=0')).status, 200)
  for (const sku of ['A', 'B', 'C']) await ask(app, 'POST', '/api/products/', { ...shirt, sku })
  await age(app)
  await ask(app, 'POST', '/api/products/', { ...shirt, sku: 'D' })
  const { entries } = await readSoon(app, 4)
  const [a, b, c, d] = entries.map(({ position }) => position)
  t.equal(await pruneChanges(app.db, before()), 3)
  const statusOf = async (since = '') => (await get(app, `/api/changes/?since=${since}`)).status
  t.strictSame(await Promise.all([beginning, a, b, c, d].map(statusOf)), [410, 410, 410, 200, 200])
  t.strictSame((await readAll(app, c)).entries, entries.slice(3), 'behind the last one that was forgotten nothing is missing')
  t.strictSame((await readAll(app)).entries, entries.slice(3), 'without a position: from the first that is kept')

  await age(app)
  await settled(app)
  t.equal(await pruneChanges(app.db, before()), 1)
  t.equal(await statusOf(c), 410)
})
