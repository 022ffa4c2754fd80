// The feed as a stream over HTTP: clients miss nothing and see nothing twice, however often the connection is lost.
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import type { Database } from '../../drizzle/database.ts'
import type { ApiKey } from '../../src/auth/keyring.ts'
import { issueKey, revokeKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import { readEnd } from '../../src/feed/positions.ts'
import { Streams } from '../../src/feed/streams.ts'
import type { App } from '../../src/http/routes.ts'
import { products } from '../../src/resources/products.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { ask, authorization, build, get, onEach } from '../helper.ts'
import { merge } from '../records.ts'
import { type Client, type Event, openStream, readAll, readAtLeast, waitForFeed } from './feed.ts'

const [embedded] = DIALECTS as [Dialect]

type Options = Parameters<typeof build>[2]

async function startListening(t: Parameters<typeof build>[0], dialect: Dialect, options?: Options): Promise<App> {
  const app = await build(t, dialect, options)
  await app.listen({ host: '127.0.0.1', port: 0 })
  return app
}

const next = async ({ events }: Client): Promise<Event | undefined> => (await events.next()).value ?? undefined

/** Returns the next event with an entry. */
async function nextEntry(client: Client): Promise<Event | undefined> {
  for (;;) {
    const event = await next(client)
    if (!event || event.event) return event
  }
}

const product = (n: number) => ({ name: `${n}`, price: 1 })

onEach('the stream sends later changes with the entries of the list', async (t, dialect) => {
  const app = await startListening(t, dialect)
  await ask(app, 'POST', '/api/products/', product(0))
  const { position } = await readAtLeast(app, 1)
  await waitForFeed(app)
  const client = await openStream(app, authorization(app))
  t.match(
    [client.status, client.headers],
    [
      200,
      { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no', 'x-content-type-options': 'nosniff' },
    ],
  )
  t.strictSame(await next(client), { retry: '1000', id: position, comment: false })
  await ask(app, 'POST', '/api/products/', product(1))
  await ask(app, 'DELETE', '/api/products/2/')
  const received = [await nextEntry(client), await nextEntry(client)]
  const { entries } = await readAtLeast(app, 2, position)
  t.strictSame(
    received.map((event) => [event?.id, event?.event, JSON.parse(event?.data ?? '')]),
    entries.map((entry) => [entry.position, `products.${entry.operation}`, entry]),
  )
  client.disconnect()
})

onEach("the stream continues after the client's position", async (t, dialect) => {
  const app = await startListening(t, dialect)
  for (let n = 0; n < 5; n++) await ask(app, 'POST', '/api/products/', product(n))
  const { entries } = await readAtLeast(app, 5)
  const from = async (headers: Record<string, string>, query = '') => {
    const client = await openStream(app, { ...authorization(app), ...headers }, query)
    const first = (await nextEntry(client))?.id
    client.disconnect()
    return first
  }
  const [, second, third, fourth] = entries.map(({ position }) => position)
  t.equal(await from({}, `?since=${second}`), third)
  t.equal(await from({ 'last-event-id': String(third) }, `?since=${second}`), fourth, 'Last-Event-ID takes precedence over the URL')
  t.equal(await from({ 'last-event-id': '' }, `?since=${second}`), third)
  for (const [headers, query, status, code] of [
    [{ 'last-event-id': 'x' }, '', 400, 'malformed-request'],
    [{ 'last-event-id': '1-AAAAAAAA' }, '', 410, 'position-gone'],
    [{}, '?since=1-AAAAAAAA', 410, 'position-gone'],
    [{}, '?since=x', 400, 'invalid-request'],
    [{}, '?page_size=1', 400, 'invalid-request'],
  ] as const)
    t.match(await ask(app, 'GET', `/api/changes/stream/${query}`, undefined, headers), { status, body: { code } })
  t.match(await app.inject({ method: 'HEAD', url: '/api/changes/stream/', headers: authorization(app) }), {
    statusCode: 200,
    headers: { 'content-type': 'text/event-stream' },
    body: '',
  })
})

onEach('a stream of one resource advances its position over other changes', async (t, dialect) => {
  const app = await startListening(t, dialect)
  await waitForFeed(app)
  const client = await openStream(app, authorization(app), '?resource=categories')
  const start = (await next(client))?.id
  for (let n = 0; n < 3; n++) await ask(app, 'POST', '/api/products/', product(n))
  const skipped = await next(client)
  t.match(skipped, { id: /^\d+-/, event: undefined, data: undefined })
  t.not(skipped?.id, start)
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  t.equal((await nextEntry(client))?.event, 'categories.create')
  client.disconnect()
})

/** Name of the last record that is created. */
const END = 'the end'

/** Follows the stream until END, with `cuts` disconnections first. Returns the positions of all entries. */
async function followCut(app: App, since: string, cuts: number, onCut: (cut: number) => void): Promise<string[]> {
  const positions: string[] = []
  let position = since
  for (let cut = 0; ; onCut(++cut)) {
    const client = await openStream(app, { ...authorization(app), 'last-event-id': position })
    const isCut = cut < cuts
    let left = isCut ? Math.floor(Math.random() * 20) : Number.POSITIVE_INFINITY
    // Some disconnections come while the stream is idle.
    const timer = isCut ? setTimeout(Math.random() * 40).then(client.disconnect) : undefined
    for await (const { id, data } of client.events) {
      if (id) position = id
      if (data) positions.push(position)
      if (data && JSON.parse(data).record?.name === END) {
        client.disconnect()
        return positions
      }
      if (data && left-- <= 0) client.disconnect()
    }
    await timer
  }
}

onEach('a client that is disconnected a hundred times misses nothing and sees nothing twice', async (t, dialect) => {
  const app = await startListening(t, dialect)
  await ask(app, 'POST', '/api/products/', product(0))
  const { position } = await readAtLeast(app, 1)
  let cut = 0
  const following = followCut(app, position, 100, (times) => {
    cut = times
  })
  const write = async (n: number) => {
    for (let stock = 0; cut < 100; stock++) {
      await ask(app, 'POST', '/api/products/', product(n))
      await merge(app.db, products, 1, { stock: stock % 7 })
    }
  }
  await Promise.all([1, 2, 3].map(write))
  await ask(app, 'POST', '/api/products/', { name: END, price: 1 })
  const positions = await following
  const { entries } = await readAll(app, position)
  t.strictSame(
    positions,
    entries.map(({ position }) => position),
  )
  t.comment(`${cut} disconnections, ${positions.length} changes`)
  t.ok(positions.length > 100)
})

onEach('an idle stream sends heartbeats', async (t, dialect) => {
  const app = await startListening(t, dialect, { heartbeat: 20 })
  const client = await openStream(app, authorization(app))
  await next(client)
  let beats = 0
  while (beats < 3) if ((await next(client))?.comment) beats++
  t.equal(beats, 3)
  client.disconnect()
})

onEach('a change that is committed during a read of the log is sent without waiting for the heartbeat', async (t, dialect) => {
  const app = await build(t, dialect)
  await waitForFeed(app)
  const since = await readEnd(app.db)
  const noticed = Promise.withResolvers<void>()
  const read = Promise.withResolvers<void>()
  let reads = 0
  const rows: Database['readRows'] = async (query, values) => {
    const result = await app.db.readRows(query, values)
    // The watch reads the newest entry without values. The stream reads entries after a position.
    if (values.length === 0 && Number(result[0]?.[0]) > since.id) setImmediate(noticed.resolve)
    if (values.length === 2 && reads++ === 0) {
      read.resolve()
      await noticed.promise
    }
    return result
  }
  const streams = new Streams({ ...app.db, readRows: rows }, 3_600_000)
  const { signal, end } = streams.open(1)
  const verifyKey = async () => undefined
  const key = { id: 1, role: 'read' } as ApiKey
  const events = streams.events({ key, resources: app.resources, since, verifyKey }, signal)
  t.match((await events.next()).value, /^retry/)
  const next = events.next()
  await read.promise
  await ask(app, 'POST', '/api/products/', product(1))
  t.match((await next).value, /products\.create/)
  end()
  await streams.close()
})

onEach('the stream ends when its key is revoked', async (t, dialect) => {
  const app = await startListening(t, dialect, { heartbeat: 20 })
  const { record, token } = await issueKey(app.db, { name: 'Shop', role: 'read' }, COMMAND_LINE)
  const client = await openStream(app, { authorization: `Bearer ${token}` })
  while (!(await next(client))?.comment);
  await revokeKey(app.db, record.id, COMMAND_LINE)
  while (await next(client));
  t.ok(client.response.complete, 'the response is complete')
  t.equal((await ask(app, 'GET', '/api/changes/', undefined, { authorization: `Bearer ${token}` })).status, 401)
})

onEach('a key that loses the admin role gets no more entries of keys', async (t, dialect) => {
  const app = await startListening(t, dialect, { heartbeat: 20 })
  const { record, token } = await issueKey(app.db, { name: 'Boss', role: 'admin' }, COMMAND_LINE)
  await waitForFeed(app)
  const client = await openStream(app, { authorization: `Bearer ${token}` })
  const rename = (name: string) => ask(app, 'PATCH', '/api/keys/1/', { name })
  await rename('x')
  t.equal((await nextEntry(client))?.event, 'keys.update')
  await ask(app, 'PATCH', `/api/keys/${record.id}/`, { role: 'read' })
  for (let beats = 0; beats < 2; ) if ((await next(client))?.comment) beats++
  await rename('y')
  await ask(app, 'POST', '/api/products/', product(1))
  const rest: (string | undefined)[] = []
  while (rest.at(-1) !== 'products.create') rest.push((await nextEntry(client))?.event)
  t.strictSame(rest, ['products.create'])
  client.disconnect()
})

onEach('the stream ends with `gone` when its position is pruned', async (t, dialect) => {
  const app = await startListening(t, dialect, { env: { CHANGES_KEEP_DAYS: '0' }, heartbeat: 20 })
  const client = await openStream(app, authorization(app))
  await next(client)
  await ask(app, 'POST', '/api/products/', product(1))
  await nextEntry(client)
  await ask(app, 'POST', '/api/products/', product(2))
  await nextEntry(client)
  await app.db.write((tx) => tx.delete(app.db.tables.changes))
  let last: Event | undefined
  for (let event = await next(client); event; event = await next(client)) last = event
  t.match(last, { event: 'gone', id: undefined })
  t.ok(client.response.complete)
})

t.test('the number of streams of a key is limited, and a closed one makes room', async (t) => {
  const app = await startListening(t, embedded)
  const { token } = await issueKey(app.db, { name: 'Shop', role: 'read' }, COMMAND_LINE)
  const headers = { authorization: `Bearer ${token}` }
  const clients: Client[] = []
  for (let n = 0; n < 10; n++) clients.push(await openStream(app, headers))
  t.ok(clients.every(({ status }) => status === 200))
  const refused = await openStream(app, headers)
  t.match([refused.status, refused.headers], [503, { 'retry-after': '5', 'content-type': /problem/ }])
  const other = await openStream(app, authorization(app))
  t.equal(other.status, 200, 'another key has its own limit')
  clients[0]?.disconnect()
  let again = await openStream(app, headers)
  while (again.status !== 200) again = await openStream(app, headers)
  t.equal(again.status, 200)
  for (const client of [...clients, again, other]) client.disconnect()
})

t.test('the number of streams of a process is limited', async (t) => {
  const app = await startListening(t, embedded)
  const clients: Client[] = []
  for (let n = 0; n < 20; n++) {
    const { token } = await issueKey(app.db, { name: `${n}`, role: 'read' }, COMMAND_LINE)
    for (let m = 0; m < 10; m++) clients.push(await openStream(app, { authorization: `Bearer ${token}` }))
  }
  t.ok(clients.every(({ status }) => status === 200))
  const { body } = await ask(app, 'GET', '/api/changes/stream/')
  t.equal(body.code, 'too-many-streams')
  t.equal((await get(app, '/api/changes/')).status, 200)
  for (const client of clients) client.disconnect()
})

onEach('closing the service ends its streams at once and completely', async (t, dialect) => {
  const app = await startListening(t, dialect)
  const clients = [await openStream(app, authorization(app)), await openStream(app, authorization(app))]
  for (const client of clients) await next(client)
  const closed = app.close()
  for (const client of clients) while (await next(client));
  await closed
  t.ok(clients.every(({ response }) => response.complete))
})

t.test('the server reads no more than a client takes, and an idle client does not delay closing', async (t) => {
  const app = await startListening(t, embedded)
  const description = 'x'.repeat(10_000)
  const start = (await get(app, '/api/changes/?since=now')).body.position
  for (let n = 0; n < 20; n++) {
    const operations = Array.from({ length: 100 }, (_, m) => ({ op: 'create', body: { ...product(100 * n + m), description } }))
    t.equal((await ask(app, 'POST', '/api/products/bulk/', { operations, atomic: false })).status, 200)
  }
  let pages = 0
  const { readRows: rows } = app.db
  app.db.readRows = (query, values) => {
    if (values[1] === 101) pages++
    return rows(query, values)
  }
  const client = await openStream(app, authorization(app), `?since=${start}`)
  client.response.pause()
  /** Waits until no page is read for 300 ms. */
  const quiet = async () => {
    for (let before = -1; before !== pages; ) {
      before = pages
      await setTimeout(300)
    }
    return pages
  }
  const read = await quiet()
  t.ok(read > 0 && read < 10, `${read} of 20 pages fill the buffers`)
  let received = 0
  while (received < 2_000 && (await nextEntry(client))) received++
  t.equal(received, 2_000, 'the rest comes when the client reads')

  const sleeper = await openStream(app, authorization(app), `?since=${start}`)
  sleeper.response.pause()
  await quiet()
  await app.close()
  sleeper.disconnect()
})

t.test('CORS headers allow pages of configured origins', async (t) => {
  const app = await startListening(t, embedded, { env: { CORS_ORIGINS: 'https://shop.test' } })
  const client = await openStream(app, { ...authorization(app), origin: 'https://shop.test' })
  t.equal(client.headers['access-control-allow-origin'], 'https://shop.test')
  client.disconnect()
})

t.test('the idle timeout does not end a stream', async (t) => {
  const app = await startListening(t, embedded, {
    timeouts: { idle: 300, request: 200, headers: 100, keepAlive: 100, check: 20 },
    heartbeat: 100,
  })
  const client = await openStream(app, authorization(app))
  await next(client)
  const start = performance.now()
  while (performance.now() - start < 1_000) t.ok(await next(client))
  client.disconnect()
})
