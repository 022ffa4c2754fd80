// Webhooks from end to end: events, recipients, signatures, and refused requests.
import { setTimeout } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import type { App } from '../../src/http/routes.ts'
import { importProducts } from '../../src/transfer/import.ts'
import { deliverDue } from '../../src/webhooks/deliver.ts'
import { dispatch } from '../../src/webhooks/dispatch.ts'
import { findDueWork } from '../../src/webhooks/due.ts'
import { Sender } from '../../src/webhooks/send.ts'
import { connect } from '../dialects.ts'
import { ask, build, get, lines, onEach } from '../helper.ts'
import {
  type Body,
  buildWithWorker,
  createWebhook,
  LOCAL,
  onSameDatabase,
  type Received,
  Receiver,
  verify,
  waitFor,
  waitForDeliveries,
  waitForDelivery,
} from './receiver.ts'

const LIST = '/api/products/'
const shirt = { sku: 'A', name: 'Shirt', price: '29.90', stock: 1 }

const listTypes = (received: readonly Received[]) => received.map(({ event }) => event.type)
/** Summarises events: the type, the id and the stock of the record. */
const summarise = (received: readonly Received[]) =>
  received.map(({ event }) => `${event.type.split('.')[1]} ${event.data.record.id} ${event.data.record.stock}`).sort()
/** Whether an event is of the record that marks the end of the writes. */
const isLast = ({ event }: Received) => event.data.record?.sku === 'LAST'
const createLast = (app: App) => ask(app, 'POST', LIST, { sku: 'LAST', name: 'Shirt', price: 100, stock: 10, brand: 'Acme' })

onEach('events are delivered and signed by Standard Webhooks', async (t, dialect) => {
  const app = await buildWithWorker(t, dialect, { env: { PUBLIC_URL: 'https://shop.example' } })
  const receiver = await Receiver.start(t)
  const { id, secret } = await createWebhook(app, receiver.url, { events: ['products.created', 'products.updated', 'products.deleted'] })
  const { body: product } = await ask(app, 'POST', LIST, shirt)
  await ask(app, 'POST', '/api/categories/', { name: 'Not subscribed to' })
  await receiver.count(1)
  const { body: changed } = await ask(app, 'PATCH', `${LIST}1/`, { price: '19.90' })
  await receiver.count(2)
  await ask(app, 'DELETE', `${LIST}1/`)
  const all = await receiver.count(3)
  const data = { id: 1, version: product.version, record: product }
  t.match(
    all.map(({ event }) => event),
    [
      { type: 'products.created', data },
      { type: 'products.updated', data: { id: 1, version: 2, changes: { price: ['29.90', '19.90'] }, record: changed } },
      { type: 'products.deleted', data: { id: 1, version: 2, record: changed } },
    ],
  )
  const late = Date.parse(all[0]?.event.timestamp) - Date.parse(product.created_at)
  t.ok(late >= 0 && Date.parse(all[0]?.event.timestamp) <= Date.now(), 'the time of the change', { late })
  t.strictSame(Object.keys(all[0]?.event), ['type', 'timestamp', 'data'])
  t.strictSame(Object.keys(all[0]?.event.data), ['id', 'version', 'record'])
  for (const received of all) {
    t.strictSame(verify(secret, received), received.event, 'the signature is valid')
    t.throws(() => verify(secret, { ...received, body: `${received.body} ` }), 'not with another body')
    t.throws(() => verify(secret, { ...received, headers: { ...received.headers, 'webhook-id': 'msg_other' } }), 'not with another id')
    t.match(received, { method: 'POST', url: '/hook', headers: { 'content-type': 'application/json', 'user-agent': /^Stockroom\// } })
    t.match(received.message, /^msg_[\da-f]{32}$/)
  }
  t.equal(new Set(all.map(({ message }) => message)).size, 3)
  await waitForDeliveries(app)
  const { body } = await get(app, `/api/deliveries/?webhook=${id}&ordering=id`)
  t.match(
    body.results,
    all.map(({ message, event }) => ({ message, type: event.type, record_id: 1, status: 'delivered', attempts: 1, response_status: 200 })),
  )
  t.equal(receiver.all.length, 3, 'nothing else arrives')
})

onEach('a secret is shown once, and both secrets sign during a rotation', async (t, dialect) => {
  const app = await buildWithWorker(t, dialect)
  const receiver = await Receiver.start(t)
  const key = { 'idempotency-key': '"make"' }
  const make = () => ask(app, 'POST', '/api/webhooks/', { url: receiver.url, events: ['*'] }, key)
  const { body: created } = await make()
  t.match(created.secret, /^whsec_[\w+/]{43}=$/)
  const again = await make()
  t.match(again, { status: 201, headers: { 'idempotency-replayed': 'true' }, body: { id: created.id, secret: null, withheld: ['secret'] } })
  const rotate = () => ask(app, 'POST', `/api/webhooks/${created.id}/rotate/`, undefined, { 'idempotency-key': '"rotate"' })
  const { status, body: rotated } = await rotate()
  t.equal(status, 200)
  t.not(rotated.secret, created.secret)
  t.match((await rotate()).body, { secret: null, withheld: ['secret'] })

  await ask(app, 'POST', LIST, shirt)
  const [first] = (await receiver.count(1)) as [Received]
  t.equal(String(first.headers['webhook-signature']).split(' ').length, 2)
  for (const secret of [created.secret, rotated.secret]) t.strictSame(verify(secret, first), first.event)
  t.throws(() => verify(`whsec_${Buffer.alloc(32).toString('base64')}`, first))

  const query = await connect(t, app.config.DATABASE_URL)
  const words = [created.secret, rotated.secret].map((secret: string) => secret.slice('whsec_'.length))
  const shows = (value: unknown) => words.some((word) => JSON.stringify(value).includes(word))
  t.notOk(shows((await get(app, '/api/webhooks/')).body), 'not in the list')
  t.notOk(shows((await get(app, `/api/webhooks/${created.id}/`)).body), 'not in the record')
  t.notOk(shows((await get(app, '/api/deliveries/')).body), 'not in the deliveries')
  for (const table of ['changes', 'idempotency_keys', 'webhooks', 'deliveries', 'jobs']) {
    const rows = await query(`select * from ${table}`)
    t.notOk(shows(rows), `not in the table ${table}`)
    if (table === 'changes')
      t.match(
        rows.filter(({ resource }) => resource === 'webhooks').map(({ operation }) => operation),
        ['create', 'rotate'],
      )
  }
  t.ok(shows(await query('select * from webhook_secrets')))

  // The old secret expires a day later.
  const past = dialect.name === 'pg' ? "now() - interval '1 second'" : String(Date.now() - 1_000)
  await query(`update webhook_secrets set expires_at = ${past} where expires_at is not null`)
  await ask(app, 'PATCH', `${LIST}1/`, { stock: 2 })
  const [, second] = (await receiver.count(2)) as [Received, Received]
  t.equal(String(second.headers['webhook-signature']).split(' ').length, 1)
  t.strictSame(verify(rotated.secret, second), second.event)
  t.throws(() => verify(created.secret, second), 'the old secret no longer signs')
})

/** Filters, with the events that each passes from the writes below. */
const FILTERS: [filter: string, told: string[]][] = [
  ['', ['created 1 1', 'created 2 5', 'deleted 2 5', 'updated 1 2', 'updated 1 3', 'updated 1 4']],
  ['stock=2', ['updated 1 2']],
  ['stock__gte=3', ['created 2 5', 'deleted 2 5', 'updated 1 3', 'updated 1 4']],
  ['stock!=3', ['created 1 1', 'created 2 5', 'deleted 2 5', 'updated 1 2', 'updated 1 4']],
  ['search=coat', ['updated 1 3']],
  ['search=ÄRMEL', ['created 2 5', 'deleted 2 5']],
  ['search=shirt&stock__lt=2', ['created 1 1']],
  ['category__under=1', ['created 1 1', 'updated 1 2', 'updated 1 3']],
  ['category__under=2', ['created 1 1']],
  ['category__under!=1', ['created 2 5', 'deleted 2 5', 'updated 1 4']],
  ['category__slug=clothing', ['updated 1 2', 'updated 1 3']],
  ['price__gte=20&price__lt=30', ['created 1 1', 'updated 1 2', 'updated 1 3', 'updated 1 4']],
  ['name__icontains=ärm', ['created 2 5', 'deleted 2 5']],
  ['sku__isnull=true', ['created 2 5', 'deleted 2 5']],
  ['name=Nothing', []],
]

onEach('a filter works like that of lists, on the state after a change', async (t, dialect) => {
  const app = await build(t, dialect, { env: LOCAL })
  const receiver = await Receiver.start(t)
  const events = ['products.created', 'products.updated', 'products.deleted']
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await ask(app, 'POST', '/api/categories/', { name: 'Shirts', parent: 1 })
  for (const [index, [filter]] of FILTERS.entries()) await createWebhook(app, `${receiver.url}/${index}`, { events, filter })
  await createWebhook(app, `${receiver.url}/last`, { events, filter: 'sku=LAST' })
  // All writes are done before the worker starts.
  await ask(app, 'POST', LIST, { ...shirt, category: 2 })
  await ask(app, 'PATCH', `${LIST}1/`, { stock: 2, category: 1 })
  await ask(app, 'PATCH', `${LIST}1/`, { stock: 3, name: 'Coat' })
  await ask(app, 'PATCH', `${LIST}1/`, { stock: 4, name: 'Hat', category: null })
  await ask(app, 'POST', LIST, { name: 'Ärmel', price: 5, stock: 5 })
  await ask(app, 'DELETE', `${LIST}2/`)
  await createLast(app)
  const worker = await buildWithWorker(t, onSameDatabase(app))
  await receiver.count(1, ({ url }) => url === '/hook/last')
  await waitForDeliveries(worker)
  for (const [index, [filter, expected]] of FILTERS.entries()) {
    const received = receiver.all.filter((one) => one.url === `/hook/${index}` && !isLast(one))
    t.strictSame(summarise(received), expected, filter)
    for (const { event } of received) if (event.type === 'products.updated') t.equal(event.data.changes.stock[1], event.data.record.stock)
  }
})

onEach('a webhook gets the event types that it names, or all', async (t, dialect) => {
  const app = await buildWithWorker(t, dialect)
  const receiver = await Receiver.start(t)
  const at = (path: string) => receiver.all.filter(({ url }) => url === `/hook/${path}`)
  await createWebhook(app, `${receiver.url}/deleted`, { events: ['products.deleted', 'categories.updated'] })
  await createWebhook(app, `${receiver.url}/all`, { events: ['*'] })
  await createWebhook(app, `${receiver.url}/some`, { events: ['*'], filter: 'price__gte=10' })
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await ask(app, 'PATCH', '/api/categories/1/', { name: 'Clothes' })
  await ask(app, 'POST', LIST, shirt)
  await ask(app, 'DELETE', `${LIST}1/`)
  await issueKey(app.db, { name: 'Nobody is told', role: 'read' }, COMMAND_LINE)
  await receiver.count(8)
  await waitForDeliveries(app)
  const all = ['categories.created', 'categories.updated', 'products.created', 'products.deleted']
  t.strictSame(listTypes(at('all')).sort(), all)
  t.strictSame(listTypes(at('deleted')).sort(), ['categories.updated', 'products.deleted'])
  t.strictSame(listTypes(at('some')).sort(), ['products.created', 'products.deleted'], 'resources without the filtered field are left out')
})

onEach('rolled back writes send no events, and bulk writes and imports send all of theirs', async (t, dialect) => {
  const app = await buildWithWorker(t, dialect)
  const receiver = await Receiver.start(t)
  await createWebhook(app, receiver.url)
  t.equal((await ask(app, 'POST', LIST, { ...shirt, category: 9 })).status, 400)
  const operations = [
    { op: 'create', body: { sku: 'B1', name: 'Hat', price: 1 } },
    { op: 'create', body: { sku: 'B2', name: 'Hat', price: 1 } },
  ]
  t.equal((await ask(app, 'POST', `${LIST}bulk/`, { operations: [...operations, { op: 'delete', id: 99 }] })).status, 404)
  await t.rejects(importProducts(app.db, lines([{ sku: 'I', name: 'Hat', price: 1 }, { sku: 'bad' }])))
  await t.rejects(
    app.db.write(async (tx) => {
      await app.jobs.enqueue(tx, 'products.notify', { record: { id: 1, version: 1 }, at: new Date().toISOString() })
      throw new Error('rolled back')
    }),
  )
  t.equal((await ask(app, 'POST', `${LIST}bulk/`, { operations })).status, 200)
  await receiver.count(2)
  const rows = Array.from({ length: 300 }, (_, n) => ({ sku: `I${n}`, name: 'Hat', price: n, ...(n === 0 && { category: ['Hats'] }) }))
  await importProducts(app.db, lines(rows))
  await receiver.count(303)
  await importProducts(app.db, lines(rows.slice(0, 150).map((row, n) => ({ ...row, stock: n }))))
  await receiver.count(303 + 149)
  await waitForDeliveries(app)
  const skus = receiver.all.filter(({ event }) => event.type === 'products.created').map(({ event }) => event.data.record.sku)
  t.strictSame(skus.sort(), ['B1', 'B2', ...rows.map(({ sku }) => sku)].sort())
  const updated = receiver.all.filter(({ event }) => event.type === 'products.updated')
  t.strictSame(
    updated.map(({ event }) => event.data.record.stock).sort((a, b) => a - b),
    Array.from({ length: 149 }, (_, n) => n + 1),
  )
  t.equal(receiver.all.length, 452)
  t.equal(new Set(receiver.all.map(({ message }) => message)).size, 452, 'each change is sent once')
})

onEach('a large record is replaced by its URL', async (t, dialect) => {
  const app = await buildWithWorker(t, dialect, { env: { PUBLIC_URL: 'https://shop.example' } })
  const receiver = await Receiver.start(t)
  const { secret } = await createWebhook(app, receiver.url)
  const description = 'ä'.repeat(9_000)
  await ask(app, 'POST', LIST, { ...shirt, description })
  const [whole] = (await receiver.count(1)) as [Received]
  t.equal(whole.event.data.record.description, description, 'a record of 18 kB is sent whole')
  await ask(app, 'PATCH', `${LIST}1/`, { stock: 2, description: `${description}!` })
  const [, thin] = (await receiver.count(2)) as [Received, Received]
  t.strictSame(thin.event.data, { id: 1, version: 2, url: 'https://shop.example/api/products/1/' })
  t.ok(Buffer.byteLength(thin.body) < 20_000)
  t.strictSame(verify(secret, thin), thin.event)
  await ask(app, 'PATCH', `${LIST}1/`, { description: 'ä'.repeat(10_000) })
  t.equal((await ask(app, 'POST', `${LIST}1/notify_update/`, { message: 'Look' })).status, 202)
  const notified = ({ event }: Received) => event.type === 'products.notified'
  const [notification] = (await receiver.count(1, notified)) as [Received]
  t.strictSame(notification.event.data, { id: 1, version: 3, message: 'Look', url: 'https://shop.example/api/products/1/' })
})

onEach('notify_update and test send messages on request', async (t, dialect) => {
  const app = await buildWithWorker(t, dialect)
  const receiver = await Receiver.start(t)
  await ask(app, 'POST', LIST, shirt)
  const { id, secret } = await createWebhook(app, receiver.url, { events: ['products.notified'], filter: 'stock__lt=5' })
  const notify = (body?: object, headers?: Record<string, string>) => ask(app, 'POST', `${LIST}1/notify_update/`, body, headers)
  const first = await notify({ message: 'Back in stock' }, { 'idempotency-key': '"once"' })
  t.match(first, { status: 202, body: { kind: 'products.notify', status: 'waiting', attempts: 0 } })
  t.equal((await notify({ message: 'Back in stock' }, { 'idempotency-key': '"once"' })).body.id, first.body.id)
  const [one] = (await receiver.count(1)) as [Received]
  const { body: record } = await get(app, `${LIST}1/`)
  t.strictSame(one.event.data, { id: 1, version: 1, message: 'Back in stock', record })
  t.strictSame(verify(secret, one), one.event)
  const location = String(first.headers.location)
  const job = await waitFor(async () => {
    const { body } = await get(app, new URL(location).pathname)
    return body.status === 'done' && body
  })
  t.match(job, { result: { deliveries: 1 }, attempts: 1 })
  for (const body of [undefined, {}]) t.equal((await notify(body)).status, 202)
  const [, two, three] = (await receiver.count(3)) as [Received, Received, Received]
  for (const { event } of [two, three]) t.strictSame(event.data, { id: 1, version: 1, record })
  for (const [body, pointer] of [
    [{ message: '' }, '/message'],
    [{ message: 'x'.repeat(1_001) }, '/message'],
    [{ text: 'x' }, '/text'],
  ] as const)
    t.match(await notify(body), { status: 400, body: { errors: [{ pointer }] } })
  t.equal((await ask(app, 'POST', `${LIST}9/notify_update/`)).status, 404)
  await ask(app, 'PATCH', `${LIST}1/`, { stock: 7 })
  const unmatched = await notify()
  const ended = await waitFor(async () => {
    const { body } = await get(app, `/api/jobs/${unmatched.body.id}/`)
    return body.status === 'done' && body
  })
  t.strictSame(ended.result, { deliveries: 0 }, 'the filter no longer matches')

  const test = () => ask(app, 'POST', `/api/webhooks/${id}/test/`, undefined, { 'x-request-id': 'trial' })
  const testAnswer = await test()
  t.equal(testAnswer.status, 202)
  const [, , , trial] = (await receiver.count(4)) as [Received, Received, Received, Received]
  t.match(trial.event, { type: 'webhooks.test', data: { webhook: id, request: 'trial' } })
  t.strictSame(verify(secret, trial), trial.event)
  t.match(await waitForDelivery(app, `id=${testAnswer.body.delivery}`, ({ status }) => status === 'delivered'), { message: trial.message })
  t.equal((await ask(app, 'POST', '/api/webhooks/99/test/')).status, 404)

  await ask(app, 'PATCH', `/api/webhooks/${id}/`, { enabled: false })
  t.match(await test(), { status: 409, body: { code: 'webhook-disabled' } })
  t.match(await ask(app, 'POST', `/api/deliveries/${testAnswer.body.delivery}/replay/`), {
    status: 409,
    body: { code: 'webhook-disabled' },
  })
  t.strictSame((await get(app, '/api/deliveries/?status__in=pending,sending')).body.results, [])
  t.equal(receiver.all.length, 4)
})

for (const alone of [true, false]) {
  onEach(`a disabled webhook gets nothing, and after enabling only new events${alone ? '' : ', beside another'}`, async (t, dialect) => {
    const app = await build(t, dialect, { env: LOCAL })
    const receiver = await Receiver.start(t)
    const at = (path: string) => receiver.all.filter(({ url }) => url === `/hook/${path}`)
    await ask(app, 'POST', LIST, { ...shirt, sku: 'BEFORE' })
    if (!alone) await createWebhook(app, `${receiver.url}/other`)
    const { id } = await createWebhook(app, `${receiver.url}/one`, { enabled: false })
    // No event is dispatched before the writes are done. On PostgreSQL an open transaction also holds the log back.
    const holder = dialect.name === 'pg' ? await connect(t, app.config.DATABASE_URL) : undefined
    await holder?.('begin')
    await holder?.('select pg_current_xact_id()')
    await ask(app, 'POST', LIST, { ...shirt, sku: 'WHILE DISABLED' })
    const enabled = await ask(app, 'PATCH', `/api/webhooks/${id}/`, { enabled: true })
    t.match(enabled, { status: 200, body: { enabled: true } })
    await ask(app, 'POST', LIST, { ...shirt, sku: 'AFTER' })
    await holder?.('commit')
    const worker = await buildWithWorker(t, onSameDatabase(app))
    await receiver.count(1, ({ url }) => url === '/hook/one')
    await waitForDeliveries(worker)
    t.strictSame(
      at('one').map(({ event }) => event.data.record.sku),
      ['AFTER'],
    )
    await ask(app, 'PATCH', `/api/webhooks/${id}/`, { enabled: false })
    await ask(app, 'POST', LIST, { ...shirt, sku: 'DISABLED AGAIN' })
    // Another webhook still gets the event.
    if (alone) await setTimeout(600)
    else await waitForDeliveries(worker)
    t.equal(at('one').length, 1)
    t.equal(at('other').length, alone ? 0 : 3)
  })
}

onEach('an empty change log needs no dispatch', async (t, dialect) => {
  const app = await build(t, dialect, { env: LOCAL })
  await createWebhook(app, 'http://127.0.0.1:9/')
  const context = { resources: app.resources, origin: '', signal: new AbortController().signal }
  await ask(app, 'POST', LIST, shirt)
  await waitFor(async () => (await findDueWork(app.db)).hasUnreadChanges, 'a change that can be read')
  await waitFor(async () => (await dispatch(app.db, context)) > 0)
  await waitFor(async () => {
    await dispatch(app.db, context)
    return !(await findDueWork(app.db)).hasUnreadChanges
  })
  await app.db.write((tx) => tx.delete(app.db.tables.changes))
  t.match(await findDueWork(app.db), { hasUnreadChanges: false })
  await ask(app, 'PATCH', `${LIST}1/`, { stock: 2 })
  await waitFor(async () => (await findDueWork(app.db)).hasUnreadChanges)
  t.equal(await waitFor(() => dispatch(app.db, context)), 1)
})

onEach('a failing job is delayed before its retry', async (t, dialect) => {
  const app = await build(t, dialect, { env: LOCAL })
  const { id } = await createWebhook(app, 'http://127.0.0.1:9/')
  await ask(app, 'POST', LIST, shirt)
  await waitFor(async () => (await findDueWork(app.db)).hasUnreadChanges, 'a change that can be read')
  await app.db.write((tx) => tx.run(sql`alter table deliveries rename to lost`))
  for (const work of [
    (signal: AbortSignal) => dispatch(app.db, { resources: app.resources, origin: '', signal }),
    (signal: AbortSignal) => deliverDue(app.db, { sender: new Sender(app.webhookPolicy, { userAgent: 'Test' }) }, id, signal),
  ]) {
    const stopping = new AbortController()
    const failing = work(stopping.signal).then(
      () => 'done',
      () => 'failed',
    )
    t.equal(await Promise.race([failing, setTimeout(300, 'at it')]), 'at it')
    stopping.abort()
    t.equal(await failing, 'failed', 'stopping ends the delay')
  }
})

onEach('deleting a webhook cancels its deliveries', async (t, dialect) => {
  const app = await buildWithWorker(t, dialect)
  const receiver = await Receiver.start(t, (response) => response.writeHead(500).end())
  const { id } = await createWebhook(app, receiver.url)
  const other = await Receiver.start(t)
  await createWebhook(app, other.url)
  await ask(app, 'POST', LIST, shirt)
  await receiver.count(1)
  await waitForDelivery(app, `webhook=${id}`, ({ status, attempts }) => status === 'pending' && attempts === 1)
  t.equal((await ask(app, 'DELETE', `/api/webhooks/${id}/`)).status, 204)
  const cancelled = await waitForDelivery(app, `webhook=${id}`, ({ status }) => status === 'cancelled')
  t.match(cancelled, { due_at: null, attempts: 1, response_status: 500 })
  t.equal((await get(app, `/api/webhooks/${id}/`)).status, 404)
  t.match(await ask(app, 'POST', `/api/deliveries/${cancelled.id}/replay/`), { status: 409, body: { code: 'webhook-disabled' } })
  await ask(app, 'PATCH', `${LIST}1/`, { stock: 5 })
  await other.count(2)
  await waitForDeliveries(app)
  t.equal(receiver.all.length, 1)
})

onEach('invalid webhooks are refused', async (t, dialect) => {
  const app = await build(t, dialect, { env: LOCAL })
  const good = { url: 'http://127.0.0.1:9/hook', events: ['products.updated'] }
  const make = (body: object) => ask(app, 'POST', '/api/webhooks/', { ...good, ...body })
  for (const [body, pointer, more = {}] of [
    [{ url: 'ftp://example.com' }, '/url'],
    [{ url: '' }, '/url'],
    [{ url: 'http://a:b@127.0.0.1/' }, '/url'],
    [{ url: 'http://127.0.0.1/#x' }, '/url'],
    [{ events: [] }, '/events', { detail: 'must have at least 1 item' }],
    [{ events: ['products.updates'] }, '/events/0', { suggestion: 'products.updated' }],
    [{ events: ['product.updatd'] }, '/events/0', { suggestion: 'products.updated' }],
    [{ events: ['x'] }, '/events/0', { detail: 'is not an event type', suggestion: undefined }],
    [{ events: ['products.updated', 'keys.created'] }, '/events/1'],
    [{ events: ['webhooks.created'] }, '/events/0'],
    [{ events: ['products.updated', 'products.updated'] }, '/events', { detail: 'has the same item twice' }],
    [{ filter: 'pricee=1' }, '/filter', { detail: /pricee/, suggestion: 'price' }],
    [{ filter: 'price__gte=cheap' }, '/filter', { detail: /price__gte/ }],
    [{ filter: 'ordering=price' }, '/filter'],
    [{ filter: 'page_size=5' }, '/filter'],
    [{ filter: 'price=1', events: ['products.updated', 'categories.updated'] }, '/filter'],
    [{ filter: 'nothing=1', events: ['*'] }, '/filter'],
    [{ filter: 'prise=1', events: ['*'] }, '/filter', { suggestion: 'price' }],
    [{ filter: 'parrent=1', events: ['*'] }, '/filter', { suggestion: 'parent' }],
  ] as [object, string, object?][]) {
    const answer = await make(body)
    t.match(answer, { status: 400, body: { code: 'invalid-request', errors: [{ pointer, ...more }] } }, JSON.stringify(body))
  }
  const { id } = await createWebhook(app, good.url, { events: ['categories.updated'], filter: 'name=A' })
  const patch = (body: object) => ask(app, 'PATCH', `/api/webhooks/${id}/`, body)
  t.match(await patch({ filter: 'price=1' }), { status: 400, body: { errors: [{ pointer: '/filter' }] } })
  t.match(await patch({ filter: 'parent=1', events: ['products.updated'] }), { status: 400, body: { errors: [{ pointer: '/filter' }] } })
  t.match(await patch({ filter: 'price=1', events: ['products.updated'] }), { status: 200 })
  t.match(
    await patch({ events: ['categories.updated'] }),
    { status: 400, body: { errors: [{ pointer: '/filter' }] } },
    'the existing filter',
  )
  t.match(await patch({ secret: 'mine' }), { status: 400 })
  // An index of PostgreSQL could not hold these bytes.
  const characters = Array.from({ length: 1_900 }, (_, index) => String.fromCodePoint(0x4e00 + ((index * 7_919) % 20_000))).join('')
  t.match(await patch({ url: `https://example.com/${characters}` }), {
    status: 400,
    body: { errors: [{ pointer: '/url', detail: /outside ASCII: percent-encode/ }] },
  })
  const { token } = await issueKey(app.db, { name: 'Shop', role: 'write' }, COMMAND_LINE)
  for (const url of ['/api/webhooks/', '/api/deliveries/'])
    t.equal((await ask(app, 'GET', url, undefined, { authorization: `Bearer ${token}` })).status, 403, url)

  const { webhooks } = app.db.tables
  const now = new Date().toISOString()
  const rows = Array.from({ length: 98 }, () => ({ ...good, created_at: now, updated_at: now, version: 1 }))
  await app.db.write((tx) => tx.insert(webhooks).values(rows as Body))
  t.equal((await make({})).status, 201, 'the hundredth webhook')
  t.match(await make({}), { status: 409, body: { code: 'too-many-webhooks' } })
  t.equal((await app.db.read.select().from(webhooks)).length, 100)
  await ask(app, 'DELETE', `/api/webhooks/${id}/`)
  t.equal((await make({})).status, 201, 'there is room again')
})
