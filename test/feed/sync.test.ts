// Runs the code in docs/changes.md: a copy is created and kept in step while others write.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { pruneChanges } from '../../src/feed/prune.ts'
import type { App } from '../../src/http/routes.ts'
import { ask, authorization, build, get, onEach } from '../helper.ts'
import { readPort, waitForFeed } from './feed.ts'

interface Copy {
  known: Map<number, { version: number; record: Record<string, unknown> | null }>
  start(): Promise<void>
  follow(): Promise<void>
}

interface Recipe {
  Copy: new (origin: string, key: string) => Copy
  Gone: new () => Error
}

const [, code = ''] = /```ts\n(.*?)```/s.exec(readFileSync(new URL('../../docs/changes.md', import.meta.url), 'utf8')) ?? []
const folder = t.testdir({ 'sync.ts': code })
const { Copy, Gone }: Recipe = await import(pathToFileURL(join(folder, 'sync.ts')).href)

/** Returns all products as the list shows them. */
async function listProducts(app: App): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = []
  for (let url = '/api/products/?page_size=100'; url; ) {
    const { body } = await get(app, url)
    rows.push(...body.results)
    url = body.next?.replace(/^https?:\/\/[^/]*/, '')
  }
  return rows
}

const listCopied = ({ known }: Copy) =>
  [...known.values()].flatMap(({ record }) => (record ? [record] : [])).sort((a, b) => Number(a.id) - Number(b.id))

const random = (below: number) => Math.floor(Math.random() * below)

/** Writes at random while `going` returns true. A bulk request writes several records in one transaction, in any order. */
async function write(app: App, going: () => boolean): Promise<number> {
  let writes = 0
  for (; going(); writes++) {
    const id = 1 + random(60)
    const ids = Array.from({ length: 3 }, () => 1 + random(60))
    const operations = [
      { op: 'create', body: { name: 'new', price: 1 } },
      ...ids.map((id) => ({ op: 'update', id, body: { stock: random(1_000) } })),
      { op: 'delete', id: 1 + random(60) },
    ]
    const requests = [
      () => ask(app, 'POST', '/api/products/', { name: 'new', price: 1 }),
      () => ask(app, 'PATCH', `/api/products/${id}/`, { stock: random(1_000) }),
      () => ask(app, 'DELETE', `/api/products/${id}/`),
      () => ask(app, 'POST', `/api/products/${id}/restore/`, { version: 1 + random(3) }),
      () => ask(app, 'POST', '/api/products/bulk/', { operations, atomic: false }),
    ]
    const { status } = (await requests[random(requests.length)]?.()) ?? { status: 0 }
    if (status >= 500) throw new Error(`a write was answered with ${status}`)
  }
  return writes
}

onEach('a copy by the recipe of docs/changes.md equals the records', async (t, dialect) => {
  const app = await build(t, dialect, { env: { CHANGES_KEEP_DAYS: '0' } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const origin = `http://127.0.0.1:${readPort(app)}`
  const key = authorization(app).authorization.replace('Bearer ', '')
  const operations = Array.from({ length: 60 }, (_, n) => ({ op: 'create', body: { name: `${n}`, price: 1 } }))
  await ask(app, 'POST', '/api/products/bulk/', { operations })
  let writing = true
  const writers = [1, 2, 3, 4].map(() => write(app, () => writing))
  // The first copy follows all the time, the second only at the end.
  const copies = [new Copy(origin, key), new Copy(origin, key)] as const
  await Promise.all(copies.map((copy) => copy.start()))
  for (const end = performance.now() + 2_000; performance.now() < end; ) await copies[0].follow()
  writing = false
  const writes = (await Promise.all(writers)).reduce((sum, count) => sum + count, 0)
  await waitForFeed(app)
  const expected = await listProducts(app)
  for (const copy of copies) {
    await copy.follow()
    t.strictSame(listCopied(copy), expected)
  }
  t.comment(`${writes} writes, ${expected.length} products`)

  const { changes } = app.db.tables
  await app.db.write((tx) => tx.update(changes).set({ at: new Date(0).toISOString() }))
  await ask(app, 'POST', '/api/products/', { name: 'last', price: 1 })
  await pruneChanges(app.db, new Date())
  for (const copy of copies) {
    t.ok((await copy.follow().catch((error) => error)) instanceof Gone)
    await copy.start()
    t.strictSame(listCopied(copy), await listProducts(app), 'the copy is complete after a fresh start')
  }
})
