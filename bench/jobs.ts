// What work behind the requests costs and does: a job inside a write, deliveries a second, and how fast the feed is caught up with.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, request } from 'undici'
import { buildApp } from '../src/app.ts'
import { COMMAND_LINE } from '../src/changelog/record.ts'
import { loadConfig } from '../src/config.ts'
import type { App } from '../src/http/routes.ts'
import { buildWriteContext } from '../src/records/transaction.ts'
import { createRecord } from '../src/records/write.ts'
import { products } from '../src/resources/products.ts'
import { MAX_IN_FLIGHT } from '../src/webhooks/deliver.ts'
import { createWebhook } from '../src/webhooks/webhooks.ts'
import type { Engine } from './databases.ts'
import { benchFeed, scratchOf } from './feed.ts'

const WRITES = 1_000
const DELIVERIES = 5_000
/** Rounds of both kinds of write in turn, of which the middle one counts. */
const ROUNDS = 5

const engines: readonly Engine[] = ['sqlite', 'pg']
const print = (line: string) => void process.stdout.write(`${line}\n`)

let made = 0
const product = () => ({ name: 'Shirt', price: '29.90', sku: `S-${made++}` })

/** Microseconds of a transaction. */
async function timeOf(app: App, withJob: boolean): Promise<number> {
  const begun = performance.now()
  for (let write = 0; write < WRITES; write++)
    await app.db.write(async (tx) => {
      const record = await createRecord(buildWriteContext(tx, app.db, products), product(), COMMAND_LINE)
      if (withJob) await app.jobs.enqueue(tx, 'products.notify', { record, at: record.created_at as string })
    })
  return ((performance.now() - begun) * 1_000) / WRITES
}

const middle = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

async function enqueueing(engine: Engine): Promise<void> {
  await withApp(engine, { WORKER: 'false' }, async (app) => {
    const [bare, full]: [number[], number[]] = [[], []]
    for (let round = 0; round <= ROUNDS; round++) {
      const [a, b] = [await timeOf(app, false), await timeOf(app, true)]
      // The first warms up.
      if (round > 0) {
        bare.push(a)
        full.push(b)
      }
    }
    const [a, b] = [middle(bare), middle(full)]
    print(
      `${engine}: a write takes ${Math.round(a)} µs, with a job in it ${Math.round(b)} µs (+${Math.round(b - a)} µs, ${(b / a).toFixed(2)})`,
    )
  })
}

/** A receiver that answers at once, and says when so many have come. */
async function receiver(expected: number): Promise<{ url: string; all: Promise<void>; close(): void }> {
  let come = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  const server = createServer((incoming, answer) => {
    incoming.resume().on('end', () => {
      answer.end()
      if (++come === expected) resolve()
    })
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, all: promise, close }
}

/** Posts a second by the client alone, as many at the same time. */
async function floor(): Promise<number> {
  const { url, all, close } = await receiver(DELIVERIES)
  const dispatcher = new Agent({ connections: MAX_IN_FLIGHT })
  const body = JSON.stringify({ type: 'products.created', data: product() })
  const begun = performance.now()
  let left = DELIVERIES
  const send = async () => {
    while (left-- > 0) await (await request(url, { method: 'POST', body, dispatcher })).body.dump()
  }
  await Promise.all(Array.from({ length: MAX_IN_FLIGHT }, send))
  await all
  const rate = DELIVERIES / ((performance.now() - begun) / 1_000)
  await dispatcher.close()
  close()
  return rate
}

async function delivering(engine: Engine): Promise<void> {
  const alone = await floor()
  const { url, all, close } = await receiver(DELIVERIES)
  const settings = { WEBHOOK_ALLOW_HTTP: 'true', WEBHOOK_ALLOW_PRIVATE: 'true' }
  await withApp(engine, settings, async (app) => {
    await app.db.write((tx) => createWebhook(tx, app.db, { url, events: ['products.created'] }, COMMAND_LINE))
    await app.db.write(async (tx) => {
      for (let row = 0; row < DELIVERIES; row++) await createRecord(buildWriteContext(tx, app.db, products), product(), COMMAND_LINE)
    })
    const begun = performance.now()
    await all
    const rate = DELIVERIES / ((performance.now() - begun) / 1_000)
    print(
      `${engine}: ${Math.round(rate)} deliveries/s to one webhook, from the commit to the last; the client alone ${Math.round(alone)} posts/s (${Math.round((100 * rate) / alone)} %)`,
    )
  })
  close()
}

async function withApp(engine: Engine, settings: Record<string, string>, work: (app: App) => Promise<void>): Promise<void> {
  const scratch = await scratchOf[engine]()
  try {
    const app = await buildApp({ config: loadConfig({ LOG_LEVEL: 'silent', DATABASE_URL: scratch.url, ...settings }), shedding: false })
    try {
      await app.ready()
      await work(app)
    } finally {
      await app.close()
    }
  } finally {
    await scratch.remove()
  }
}

for (const engine of engines) await enqueueing(engine)
for (const engine of engines) await delivering(engine)
await benchFeed(engines, print)
