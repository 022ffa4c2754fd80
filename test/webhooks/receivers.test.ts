// Behaviour of receivers: failures, time-outs, redirects, throttling, removal and malformed answers.
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { createServer, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { App } from '../../src/http/routes.ts'
import { connect, type Dialect } from '../dialects.ts'
import { ask, get, onEach } from '../helper.ts'
import {
  type Body,
  buildWithWorker,
  createWebhook,
  type Options,
  Receiver,
  verify,
  waitFor,
  waitForDeliveries,
  waitForDelivery,
} from './receiver.ts'

// Most of each test is waiting.
t.jobs = 4

const LIST = '/api/products/'
const DAY = 86_400_000

/** The number of attempts in production, without its long waits. */
const QUICK: Options['webhooks'] = { schedule: [0, ...Array(9).fill(40)] }

async function start(t: Test, dialect: Dialect, options: Options = { webhooks: QUICK }): Promise<App> {
  const app = await buildWithWorker(t, dialect, options)
  await ask(app, 'POST', LIST, { sku: 'A', name: 'Shirt', price: 1 })
  return app
}

const change = (app: App, stock: number) => ask(app, 'PATCH', `${LIST}1/`, { stock })

/** Returns a generator of numbers from 0 to 1, the same each time. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

const readWebhook = async (app: App, id: number): Promise<Body> => (await get(app, `/api/webhooks/${id}/`)).body
const readDeliveries = async (app: App, id: number): Promise<Body[]> =>
  (await get(app, `/api/deliveries/?webhook=${id}&ordering=id&page_size=100`)).body.results

onEach('an unreliable receiver gets every message, each under one id', async (t, dialect) => {
  const app = await start(t, dialect)
  const random = createRandom(7)
  const accepted = new Set<string>()
  const receiver = await Receiver.start(t, (response, { message }) => {
    const fails = random() < 0.3
    if (!fails) accepted.add(message)
    // Some failures answer, others close the connection.
    if (!fails) response.end()
    else if (random() < 0.5) response.writeHead(500).end('Sorry')
    else response.destroy()
  })
  const { id, secret } = await createWebhook(app, receiver.url)
  for (let stock = 1; stock <= 60; stock++) await change(app, stock)
  await waitFor(async () => accepted.size === 60, '60 deliveries')
  await waitForDeliveries(app)
  const all = await readDeliveries(app, id)
  t.equal(all.length, 60)
  t.ok(all.every(({ status }) => status === 'delivered'))
  t.strictSame(all.map(({ message }) => message).sort(), [...accepted].sort())
  t.ok(receiver.all.length > 60, 'some messages were sent again', { attempts: receiver.all.length })
  const bodies = new Map<string, string>()
  for (const received of receiver.all) {
    verify(secret, received)
    t.equal(bodies.get(received.message) ?? received.body, received.body)
    bodies.set(received.message, received.body)
  }
  for (const { message, attempts, history } of all) {
    t.equal(receiver.all.filter((received) => received.message === message).length, attempts)
    t.equal(history.length, attempts)
  }
  t.match(await readWebhook(app, id), { enabled: true, failing_since: null, disabled_reason: null })
})

onEach('a receiver that was down gets its messages after its return', async (t, dialect) => {
  const app = await start(t, dialect)
  const receiver = new Receiver()
  const close = await receiver.listen(t)
  const { id } = await createWebhook(app, receiver.url)
  await close()
  await change(app, 1)
  const down = await waitForDelivery(app, `webhook=${id}`, ({ attempts }) => attempts > 1)
  t.match(down, { response_status: null, error: /ECONNREFUSED/ })
  t.type((await readWebhook(app, id)).failing_since, 'string')
  await receiver.listen(t, receiver.port)
  await receiver.count(1)
  await waitForDeliveries(app)
  t.match(await readDeliveries(app, id), [{ status: 'delivered', response_status: 200, error: null, due_at: null }])
  t.equal((await readWebhook(app, id)).failing_since, null)
})

/** Attempts never time out. */
const PATIENT: Options = { webhooks: { timeout: 3_600_000 } }

onEach('a hanging receiver delays neither writers nor other receivers', async (t, dialect) => {
  const app = await start(t, dialect, PATIENT)
  const hanging = await Receiver.start(t, () => {})
  const other = await Receiver.start(t)
  const slow = await createWebhook(app, hanging.url)
  await createWebhook(app, other.url)
  for (let stock = 1; stock <= 30; stock++) t.equal((await change(app, stock)).status, 200)
  await hanging.count(10)
  await other.count(30)
  const ended = (await readDeliveries(app, slow.id)).filter(({ attempts }) => attempts > 0)
  t.strictSame(ended, [], 'deliveries to the other receiver end while those to the first are in progress')
  t.equal(hanging.all.length, 10, 'concurrent attempts to one receiver are limited')
  t.equal((await ask(app, 'DELETE', `/api/webhooks/${slow.id}/`)).status, 204)
})

onEach('an attempt without an answer ends at its timeout', async (t, dialect) => {
  const app = await start(t, dialect, { webhooks: { ...QUICK, timeout: 1_000 } })
  const { id } = await createWebhook(app, (await Receiver.start(t, () => {})).url)
  await change(app, 1)
  const delivery = await waitForDelivery(app, `webhook=${id}`, ({ attempts }) => attempts > 0)
  t.match(delivery, { response_status: null, error: 'no response within 1 s' })
  t.ok(delivery.latency_ms >= 990, 'the latency', { latency: delivery.latency_ms })
})

onEach('a hanging receiver does not delay another one on its origin', async (t, dialect) => {
  const app = await start(t, dialect, PATIENT)
  const unanswered: ServerResponse[] = []
  const receiver = await Receiver.start(t, (response, { url }) => (url === '/hook/hangs' ? unanswered.push(response) : response.end()))
  await createWebhook(app, `${receiver.url}/hangs`)
  for (let stock = 1; stock <= 12; stock++) await change(app, stock)
  await receiver.count(10, ({ url }) => url === '/hook/hangs')
  await createWebhook(app, `${receiver.url}/answers`)
  await change(app, 13)
  const [answered] = await receiver.count(1, ({ url }) => url === '/hook/answers')
  t.equal(answered?.event.data.record.stock, 13)
  t.equal(unanswered.filter(({ writableEnded }) => writableEnded).length, 0)
  for (const response of unanswered) response.end()
})

onEach('an outcome is not recorded after another instance has claimed the delivery', async (t, dialect) => {
  const app = await start(t, dialect, PATIENT)
  const unanswered: ServerResponse[] = []
  const receiver = await Receiver.start(t, (response) => unanswered.push(response))
  const { id } = await createWebhook(app, receiver.url)
  await change(app, 1)
  const [first] = await receiver.count(1)
  const query = await connect(t, app.config.DATABASE_URL)
  // A claim is identified by its expiry, so another time is another claim.
  const later = Date.now() + DAY
  await query(`update deliveries set due_at = ${dialect.name === 'pg' ? `to_timestamp(${later / 1_000})` : later} where webhook = ${id}`)
  await change(app, 2)
  await receiver.count(2)
  for (const response of unanswered) response.end()
  await waitForDelivery(app, `webhook=${id}`, ({ message, status }) => message !== first?.message && status === 'delivered')
  await waitFor(async () => {
    const { body } = await get(app, '/api/jobs/?kind=webhooks.deliver')
    return body.results.every(({ status }: Body) => status === 'done')
  }, 'the end of the job that delivers')
  t.match(
    (await readDeliveries(app, id)).find(({ message }) => message === first?.message),
    { status: 'sending', attempts: 0, history: [] },
  )
})

onEach('a redirect counts as a failure and is not followed', async (t, dialect) => {
  const app = await start(t, dialect)
  const elsewhere = await Receiver.start(t)
  const receiver = await Receiver.start(t, (response) => response.writeHead(308, { location: elsewhere.url }).end())
  const { id } = await createWebhook(app, receiver.url)
  await change(app, 1)
  const failed = await waitForDelivery(app, `webhook=${id}`, ({ status }) => status === 'failed')
  t.match(failed, { attempts: 10, response_status: 308, error: 'the receiver answered 308', due_at: null })
  t.equal(elsewhere.all.length, 0)
  t.equal(receiver.all.length, 10)
  t.match(await readWebhook(app, id), { enabled: true }, 'failed deliveries alone do not disable the webhook')
})

onEach('a webhook whose receiver answers 410 is disabled', async (t, dialect) => {
  const app = await start(t, dialect)
  const receiver = await Receiver.start(t, (response) => response.writeHead(410).end('moved away'))
  const { id } = await createWebhook(app, receiver.url)
  await change(app, 1)
  const state = await waitFor(async () => {
    const state = await readWebhook(app, id)
    return state.enabled === false && state
  })
  t.equal(state.disabled_reason, 'The receiver answered 410 (Gone).')
  t.match(await readDeliveries(app, id), [{ status: 'failed', response_status: 410, attempts: 1 }])
  const log = await app.db.read.select().from(app.db.tables.changes)
  t.match(
    log.filter(({ resource, operation }) => resource === 'webhooks' && operation === 'update'),
    [{ record_id: id, key_id: null, reason: 'The receiver answered 410 (Gone).' }],
  )
  await change(app, 2)
  receiver.reply = (response) => response.end()
  const again = await ask(app, 'PATCH', `/api/webhooks/${id}/`, { enabled: true })
  t.match(again.body, { enabled: true, disabled_reason: null, failing_since: null })
  await change(app, 3)
  const [, received] = await receiver.count(2)
  t.equal(received?.event.data.record.stock, 3)
})

for (const [title, status, header] of [
  ['429 with seconds', 429, () => '3'],
  ['503 with a date', 503, () => new Date(Date.now() + 4_000).toUTCString()],
] as const)
  onEach(`${title} pauses the webhook`, async (t, dialect) => {
    const app = await start(t, dialect)
    let throttledAt: number | undefined
    const receiver = await Receiver.start(t, (response) => {
      if (throttledAt !== undefined) return response.end()
      throttledAt = Date.now()
      return response.writeHead(status, { 'retry-after': header() }).end()
    })
    const { id } = await createWebhook(app, receiver.url)
    await change(app, 1)
    await receiver.count(1)
    await waitForDelivery(app, `webhook=${id}`, ({ attempts }) => attempts === 1)
    await change(app, 2)
    await change(app, 3)
    const all = await receiver.count(4)
    for (const { at } of all.slice(1))
      t.ok(at - Number(throttledAt) >= 2_900, 'nothing is sent before the pause ends', { waited: at - Number(throttledAt) })
    await waitForDeliveries(app)
    t.match(
      (await readDeliveries(app, id)).map(({ status, attempts }) => `${status} ${attempts}`),
      ['delivered 2', 'delivered 1', 'delivered 1'],
    )
  })

/** Starts a server that answers with raw bytes. */
async function startRawServer(t: Test, answer: (socket: Socket) => unknown): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => answer(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/`
}

onEach('an answer of 50 MB is not read', async (t, dialect) => {
  const app = await start(t, dialect)
  let bytesWritten = 0
  const url = await startRawServer(t, async (socket) => {
    const chunk = Buffer.alloc(65_536, 'x')
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${50 * 1_048_576}\r\n\r\n`)
    for (let chunks = 0; chunks < 800 && !socket.destroyed; chunks++) {
      const free = socket.write(chunk)
      bytesWritten = socket.bytesWritten - socket.writableLength
      if (!free) await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => {})
    }
  })
  const { id } = await createWebhook(app, url)
  await change(app, 1)
  const delivered = await waitForDelivery(app, `webhook=${id}`, ({ status }) => status === 'delivered')
  t.equal(delivered.history[0].response, 'x'.repeat(1_000))
  t.ok(bytesWritten < 20 * 1_048_576, 'only the buffers of the system are filled', { bytesWritten })
})

onEach('malformed and incomplete answers are recorded as failures', async (t, dialect) => {
  const app = await start(t, dialect, { webhooks: { ...QUICK, timeout: 2_000 } })
  const answers: Record<string, (socket: Socket) => unknown> = {
    garbage: (socket) => socket.end('\0\x01 this is no HTTP\0\r\n\r\n'),
    'an endless header': (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nx-long: ')
      for (let n = 0; n < 10; n++) socket.write('x'.repeat(10_000))
    },
    'cut off': (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort'),
    'nothing at all': (socket) => socket.end(),
    'never ends': (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort'),
    'a strange status': (socket) => socket.end('HTTP/1.1 999 Whatever\r\ncontent-length: 0\r\n\r\n'),
    'only early hints': (socket) => socket.end('HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n'),
    'another protocol': (socket) => socket.end('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
  }
  const ids: Record<string, number> = {}
  for (const [name, answer] of Object.entries(answers)) ids[name] = (await createWebhook(app, await startRawServer(t, answer))).id
  const good = await Receiver.start(t)
  await createWebhook(app, good.url)
  await change(app, 1)
  await good.count(1)
  for (const [name, id] of Object.entries(ids)) {
    const delivery = await waitForDelivery(app, `webhook=${id}`, ({ attempts }) => attempts >= 2)
    t.type(delivery.error, 'string', name)
    t.ok(delivery.error.length > 0 && delivery.error.length <= 1_000, `${name}: ${delivery.error}`)
    t.notOk(delivery.error.includes('\0'))
  }
  for (const id of Object.values(ids)) await ask(app, 'DELETE', `/api/webhooks/${id}/`)
  await change(app, 2)
  await good.count(2)
})

onEach('a delivery records the status, error, response and latency of each attempt', async (t, dialect) => {
  const app = await start(t, dialect)
  const receiver = await Receiver.start(t)
  const { id } = await createWebhook(app, receiver.url)
  const answers: [status: number, text: string | Buffer][] = [
    [500, 'a\0b'],
    [404, 'x'.repeat(5_000)],
    [400, Buffer.from([0xff, 0xfe, 0x41])],
    [201, '{"ok":true}'],
  ]
  receiver.reply = async (response) => {
    const [status, text] = answers[receiver.all.length - 1] ?? [200, '']
    await setTimeout(30)
    response.writeHead(status).end(text)
  }
  await change(app, 1)
  const delivered = await waitForDelivery(app, `webhook=${id}`, ({ status }) => status === 'delivered')
  t.match(
    delivered.history.map(({ status, error, response }: Body) => ({ status, error, response })),
    [
      { status: 500, error: 'the receiver answered 500', response: 'a\ufffdb' },
      { status: 404, error: 'the receiver answered 404', response: 'x'.repeat(1_000) },
      { status: 400, error: 'the receiver answered 400', response: '\ufffd\ufffdA' },
      { status: 201, error: null, response: '{"ok":true}' },
    ],
  )
  for (const { latency_ms, at } of delivered.history) {
    t.ok(latency_ms >= 25)
    t.ok(Math.abs(Date.parse(at) - Date.now()) < 60_000)
  }
  t.match(delivered, { attempts: 4, response_status: 201, error: null, type: 'products.updated', record_id: 1, due_at: null })
  t.notOk('body' in delivered, 'the body that was sent is not shown')
  t.match((await get(app, `/api/deliveries/${delivered.id}/`)).body, { message: delivered.message })
  t.equal((await get(app, '/api/deliveries/?status=failed')).body.results.length, 0)
})

onEach('a webhook that fails for days is disabled with the reason', async (t, dialect) => {
  const app = await start(t, dialect)
  const receiver = await Receiver.start(t, (response) => response.writeHead(500).end())
  const { id } = await createWebhook(app, receiver.url)
  await change(app, 1)
  await waitForDelivery(app, `webhook=${id}`, ({ status }) => status === 'failed')
  t.match(await readWebhook(app, id), { enabled: true, disabled_reason: null })
  const query = await connect(t, app.config.DATABASE_URL)
  const since = Date.now() - 4 * DAY
  await query(`update webhooks set failing_since = ${dialect.name === 'pg' ? `to_timestamp(${since / 1_000})` : since} where id = ${id}`)
  await change(app, 2)
  const state = await waitFor(async () => {
    const state = await readWebhook(app, id)
    return state.enabled === false && state
  })
  t.equal(state.disabled_reason, `No delivery has arrived since ${new Date(since).toISOString()}: the receiver answered 500.`)
  t.equal(state.failing_since, new Date(since).toISOString())
  t.equal(receiver.all.length, 20)
})

onEach('replay sends deliveries again under their ids, singly or by time', async (t, dialect) => {
  const app = await start(t, dialect, { webhooks: { schedule: [0, 20] } })
  const receiver = await Receiver.start(t, (response, { event }) => response.writeHead(event.data.record.stock % 2 ? 200 : 500).end())
  const since = new Date().toISOString()
  const { id } = await createWebhook(app, receiver.url)
  for (let stock = 1; stock <= 6; stock++) await change(app, stock)
  await waitForDeliveries(app)
  const before = await readDeliveries(app, id)
  t.equal(before.length, 6)
  t.strictSame(before.map(({ status }) => status).sort(), ['delivered', 'delivered', 'delivered', 'failed', 'failed', 'failed'])
  const failed = before.filter(({ status }) => status === 'failed').map(({ message }) => message)
  const [first] = before
  const times = (message: string) => receiver.all.filter((received) => received.message === message).length
  receiver.reply = (response) => response.end()

  const arrived = times(first.message)
  const one = await ask(app, 'POST', `/api/deliveries/${first.id}/replay/`)
  t.match(one, { status: 202, body: { delivery: first.id }, headers: { location: new RegExp(`/api/deliveries/${first.id}/$`) } })
  await waitFor(async () => times(first.message) === arrived + 1)
  await waitForDeliveries(app)

  const replay = async (body: object) => {
    const { status, body: job } = await ask(app, 'POST', `/api/webhooks/${id}/replay/`, body)
    t.equal(status, 202)
    return waitFor(async () => {
      const { body } = await get(app, `/api/jobs/${job.id}/`)
      return body.status === 'done' && body.result
    })
  }
  t.strictSame(await replay({ since }), { deliveries: 3 })
  await waitForDeliveries(app)
  for (const message of failed) t.equal(times(message), 3, 'two failed attempts and one successful')
  t.ok((await readDeliveries(app, id)).every(({ status, attempts }) => status === 'delivered' && attempts === 1))
  t.equal((await readDeliveries(app, id))[0].history.length, arrived + 1, 'the history is kept')
  const count = receiver.all.length
  t.strictSame(await replay({ since }), { deliveries: 0 })
  t.strictSame(await replay({ since, until: since, only: 'all' }), { deliveries: 0 })
  t.strictSame(await replay({ since, only: 'all' }), { deliveries: 6 })
  await receiver.count(count + 6)
  await waitForDeliveries(app)
  t.equal(new Set(receiver.all.map(({ message }) => message)).size, 6)
  t.equal((await readDeliveries(app, id)).length, 6)
  await ask(app, 'PATCH', `/api/webhooks/${id}/`, { enabled: false })
  const disabled = { status: 409, body: { code: 'webhook-disabled' } }
  t.match(await ask(app, 'POST', `/api/webhooks/${id}/replay/`, { since }), disabled)
  t.match(await ask(app, 'POST', `/api/deliveries/${first.id}/replay/`), disabled)
  for (const body of [{}, { since: 'yesterday' }, { since, only: 'some' }])
    t.equal((await ask(app, 'POST', `/api/webhooks/${id}/replay/`, body)).status, 400, JSON.stringify(body))
  t.match(await ask(app, 'POST', `/api/webhooks/${id}/replay/`, { since, until: '2020-01-01' }), {
    status: 400,
    body: { code: 'invalid-request', errors: [{ pointer: '/until', detail: 'must not be before `since`' }] },
  })
  t.equal((await ask(app, 'POST', '/api/webhooks/99/replay/', { since })).status, 404)
  t.equal((await ask(app, 'POST', '/api/deliveries/999/replay/')).status, 404)
})
