// The history of one record, and restoring one of its states.
import { sql } from 'drizzle-orm'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import type { App } from '../../src/http/routes.ts'
import { ask, build, get, onEach } from '../helper.ts'
import type { Entry } from './feed.ts'

const shirt = { sku: 'A', name: 'Shirt', price: '29.90' }
const URL = '/api/products/1/'

const history = async (app: App, query = '', url = URL): Promise<{ next: string | null; results: Entry[] }> =>
  (await get(app, `${url}history/${query}`)).body
const restore = (app: App, version: number, headers = {}, url = URL) => ask(app, 'POST', `${url}restore/`, { version }, headers)
const search = async (app: App, text: string) => (await get(app, `/api/products/?search=${text}`)).body.count

onEach('a record has a history, even after its deletion', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  await ask(app, 'PATCH', URL, { name: 'Coat' }, { 'x-request-id': 'r2' })
  await ask(app, 'POST', `${URL}stock/`, { delta: 3, reason: 'came' })
  await ask(app, 'POST', '/api/products/', { ...shirt, sku: 'B' })
  const { body: current } = await get(app, URL)
  const { next, results } = await history(app)
  t.equal(next, null)
  t.match(results, [
    { version: 3, operation: 'update', reason: 'came', changes: { stock: [0, 3] }, record: current },
    { version: 2, operation: 'update', request: 'r2', reason: null, changes: { name: ['Shirt', 'Coat'] }, record: { name: 'Coat' } },
    { version: 1, operation: 'create', record: { name: 'Shirt' } },
  ])
  t.strictSame(Object.keys(results[0] ?? {}), ['operation', 'version', 'at', 'key', 'request', 'reason', 'changes', 'record'])
  await ask(app, 'DELETE', URL)
  const afterDeletion = await history(app)
  t.match(afterDeletion.results[0], { version: 3, operation: 'delete', record: null, changes: { name: ['Coat', null] } })
  t.strictSame(afterDeletion.results.slice(1), results)
  t.equal((await get(app, '/api/products/9/history/')).status, 404)
  t.equal((await get(app, '/api/products/x/history/')).status, 404)
})

onEach('history has pages that never split a version', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  for (let stock = 1; stock <= 6; stock++) await ask(app, 'PATCH', URL, { stock })
  await ask(app, 'DELETE', URL)
  const all = (await history(app)).results
  t.equal(all.length, 8)
  for (let size = 1; size <= 9; size++) {
    const readAuthor: Entry[] = []
    for (let url: string | undefined = `${URL}history/?page_size=${size}`; url; ) {
      const { body }: { body: { next: string | null; results: Entry[] } } = await get(app, url)
      t.ok(body.results.length > 0 && body.results.length <= size + 1)
      readAuthor.push(...body.results)
      url = body.next?.replace('http://localhost:80', '')
    }
    t.strictSame(readAuthor, all, `pages of ${size}`)
  }
  t.equal((await history(app, '?before=3')).results[0]?.version, 2)
  t.match(await history(app, '?before=1'), { next: null, results: { length: 0 } })
})

onEach('an existing record without log entries has an empty history', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  await app.db.write((tx) => tx.delete(app.db.tables.changes))
  t.strictSame(await history(app), { next: null, results: [] })
})

onEach('the author of a change is shown to admins and to itself', async (t, dialect) => {
  const app = await build(t, dialect)
  const { record, token } = await issueKey(app.db, { name: 'Shop', role: 'write' }, COMMAND_LINE)
  const other = await issueKey(app.db, { name: 'Other', role: 'write' }, COMMAND_LINE)
  const by = (token: string) => ({ authorization: `Bearer ${token}` })
  await ask(app, 'POST', '/api/products/', shirt, { ...by(token), 'x-request-id': 'mine' })
  const seen = async (headers: Record<string, string>) => {
    const { results } = (await app.inject({ url: `${URL}history/`, headers })).json()
    return [results[0].key, results[0].request]
  }
  t.strictSame((await history(app)).results[0]?.key, record.id)
  t.strictSame(await seen(by(token)), [record.id, 'mine'])
  t.strictSame(await seen(by(other.token)), [null, null])
  const anonymous = await app.inject({ url: `${URL}history/` })
  t.match([anonymous.statusCode, anonymous.json().code], [401, 'key-required'], 'history needs a key')
})

onEach('restore brings back a state as a new change', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await ask(app, 'POST', '/api/products/', { ...shirt, description: 'Zanzibar', category: 1, stock: 4 })
  const { body: first } = await get(app, URL)
  await ask(app, 'PUT', URL, { name: 'Coat', price: '5' })
  const { status, body, headers } = await restore(app, 1)
  const { version, updated_at: _, ...rest } = body
  const { version: __, updated_at: ___, ...then } = first
  t.strictSame([status, version, rest], [200, 3, then])
  const read = await get(app, URL)
  t.strictSame([read.headers.etag, read.headers['last-modified']], [headers.etag, headers['last-modified']])
  t.equal(await search(app, 'zanzibar'), 1, 'the search finds it again')
  t.match((await history(app)).results[0], { operation: 'update', reason: 'restored version 1', changes: { name: ['Coat', 'Shirt'] } })
  t.strictSame((await restore(app, 1)).body, body, 'restoring the current state changes nothing')
  t.equal((await history(app)).results.length, 3)
})

onEach('restore brings back a deleted record under its id', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', { ...shirt, description: 'Zanzibar' })
  const { body: first } = await get(app, URL)
  await ask(app, 'PATCH', URL, { stock: 5 })
  await ask(app, 'DELETE', URL)
  t.equal(await search(app, 'zanzibar'), 0)
  const { status, body, headers } = await restore(app, 1)
  t.match([status, body], [200, { ...first, version: 3, updated_at: /./ }])
  t.ok(body.updated_at >= first.updated_at)
  t.equal(await search(app, 'zanzibar'), 1)
  t.strictSame((await get(app, URL)).body, body)
  t.equal((await get(app, URL)).headers.etag, headers.etag)
  t.match((await history(app)).results, [
    { version: 3, operation: 'create', reason: 'restored version 1', record: body },
    { version: 2, operation: 'delete' },
    { version: 2, operation: 'update' },
    { version: 1, operation: 'create' },
  ])
  const { body: product } = await ask(app, 'POST', '/api/products/', { name: 'Hat', price: 1 })
  t.equal(product.id, 2, 'the next new record gets another id')
  await ask(app, 'DELETE', URL)
  t.match((await restore(app, 2)).body, { stock: 5, version: 4 }, 'the version continues to grow')
  t.equal((await get(app, '/api/products/?page_size=1')).body.count, 2)
})

onEach('restore enforces the current constraints', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await ask(app, 'POST', '/api/products/', { ...shirt, category: 1 })
  await ask(app, 'PATCH', URL, { sku: 'B', category: null })
  await ask(app, 'POST', '/api/products/', shirt)
  t.match(await restore(app, 1), { status: 409, body: { code: 'not-unique', errors: [{ pointer: '/sku' }] } })
  await ask(app, 'DELETE', '/api/products/2/')
  await ask(app, 'DELETE', '/api/categories/1/')
  t.match(await restore(app, 1), { status: 400, body: { code: 'invalid-request', errors: [{ pointer: '/category' }] } })
  await ask(app, 'DELETE', URL)
  t.match(await restore(app, 1), { status: 400, body: { errors: [{ pointer: '/category' }] } })
  await ask(app, 'POST', '/api/products/', { ...shirt, sku: 'B' })
  t.match(await restore(app, 2), { status: 409, body: { code: 'not-unique' } })
  t.equal((await get(app, URL)).status, 404, 'nothing was restored')
})

onEach('restore derives a new slug for a category and refuses cycles', async (t, dialect) => {
  const app = await build(t, dialect)
  const url = '/api/categories/1/'
  await ask(app, 'POST', '/api/categories/', { name: 'Shirts' })
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await ask(app, 'PATCH', url, { name: 'Tops', parent: 2 })
  await ask(app, 'POST', '/api/categories/', { name: 'Shirts', parent: 2 })
  t.match((await restore(app, 1, {}, url)).body, { name: 'Shirts', slug: 'shirts-2', parent: null, version: 3 })
  await ask(app, 'PATCH', '/api/categories/2/', { parent: 1 })
  t.match(await restore(app, 2, {}, url), { status: 409, body: { code: 'cycle' } })
  await ask(app, 'DELETE', '/api/categories/3/')
  await ask(app, 'DELETE', '/api/categories/2/')
  await ask(app, 'DELETE', url)
  t.match(await restore(app, 2, {}, url), { status: 400, body: { errors: [{ pointer: '/parent' }] } })
  t.match((await restore(app, 1, {}, url)).body, { id: 1, name: 'Shirts', slug: 'shirts', version: 4 })
  t.match((await restore(app, 2, {}, '/api/categories/3/')).status, 404)
})

onEach('restoring an unrecorded state answers 404', async (t, dialect) => {
  const app = await build(t, dialect)
  t.match(await restore(app, 1), { status: 404, body: { code: 'not-found' } }, 'the record never existed')
  await ask(app, 'POST', '/api/products/', shirt)
  t.match(await restore(app, 2), { status: 404, body: { detail: /no state of version 2 of the product 1/ } })
  await app.db.write((tx) => tx.run(sql`update changes set state = null`))
  t.match(await restore(app, 1), { status: 404 }, 'the entry is from before states were recorded')
  t.equal((await restore(app, 0)).status, 400)
})

onEach('restore obeys preconditions and idempotency keys', async (t, dialect) => {
  const app = await build(t, dialect)
  const { headers } = await ask(app, 'POST', '/api/products/', shirt)
  const { headers: changed } = await ask(app, 'PATCH', URL, { stock: 5 })
  t.match(await restore(app, 1, { 'if-match': headers.etag }), { status: 412, headers: { etag: changed.etag } })
  t.equal((await restore(app, 9, { 'if-match': headers.etag })).status, 404, 'without the condition it would fail too')
  const once = { 'if-match': changed.etag, 'idempotency-key': '"once"' }
  const answer = await restore(app, 1, once)
  t.match([answer.status, answer.body.version], [200, 3])
  const again = await restore(app, 1, once)
  t.match([again.status, again.body, again.headers['idempotency-replayed']], [200, answer.body, 'true'])
  await ask(app, 'DELETE', URL)
  for (const tag of [String(answer.headers.etag), '*'])
    t.match(
      await restore(app, 1, { 'if-match': tag }),
      { status: 412, body: { code: 'precondition-failed' } },
      'a deleted record matches no precondition',
    )
  t.equal((await restore(app, 1, { 'if-none-match': '*' })).status, 200)
  t.equal((await restore(app, 2, { 'if-none-match': '*' })).status, 412)
})

onEach('concurrent restores of a deleted record create it once', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/products/', shirt)
  for (let version = 2; version <= 7; version++) {
    await ask(app, 'DELETE', URL)
    const answers = await Promise.all(Array.from({ length: 8 }, () => restore(app, 1)))
    t.strictSame(
      answers.map(({ status, body }) => [status, body.version]),
      Array(8).fill([200, version]),
    )
  }
  t.equal((await history(app)).results.length, 13, 'each round restored it once')
})
