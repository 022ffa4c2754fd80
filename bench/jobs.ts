// npm run bench:jobs: cost of a job inside a write, deliveries per second, and speed of the change feed.
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
import { benchFeed, createScratch } from './feed.ts'

const WRITES = 1_000
const DELIVERIES = 5_000
/** Rounds of both kinds of write in turn. The median counts. */
const ROUNDS = 5

const engines: readonly Engine[] = ['sqlite', 'pg']
const print = (line: string) => void process.stdout.write(`${line}\n`)

let nextNumber = 0
const buildProduct = () => ({ name: 'Shirt', price: '29.90', sku: `S-${nextNumber++}` })

/** Returns the microseconds per write transaction. */
async function timeWrites(app: App, withJob: boolean): Promise<number> {
  const start = performance.now()
  for (let write = 0; write < WRITES; write++)
    await app.db.write(async (tx) => {
      const record = await createRecord(buildWriteContext(tx, app.db, products), buildProduct(), COMMAND_LINE)
      if (withJob) await app.jobs.enqueue(tx, 'products.notify', { record, at: record.created_at as string })
    })
  return ((performance.now() - start) * 1_000) / WRITES
}

const median = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

async function measureEnqueueing(engine: Engine): Promise<void> {
  await withApp(engine, { WORKER: 'false' }, async (app) => {
    const [without, withJob]: [number[], number[]] = [[], []]
    for (let round = 0; round <= ROUNDS; round++) {
      const [a, b] = [await timeWrites(app, false), await timeWrites(app, true)]
      // The first round warms up.
      if (round > 0) {
        without.push(a)
        withJob.push(b)
      }
    }
    const [a, b] = [median(without), median(withJob)]
    print(
      `${engine}: a write takes ${Math.round(a)} µs, with a job in it ${Math.round(b)} µs (+${Math.round(b - a)} µs, ${(b / a).toFixed(2)})`,
    )
  })
}

/** Starts a receiver that answers at once. `all` resolves after `expected` requests. */
async function startReceiver(expected: number): Promise<{ url: string; all: Promise<void>; close(): void }> {
  let count = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  const server = createServer((incoming, response) => {
    incoming.resume().on('end', () => {
      response.end()
      if (++count === expected) resolve()
    })
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, all: promise, close }
}

/** Returns the requests per second that the HTTP client reaches alone, with the same concurrency. */
async function measureClient(): Promise<number> {
  const { url, all, close } = await startReceiver(DELIVERIES)
  const dispatcher = new Agent({ connections: MAX_IN_FLIGHT })
  const body = JSON.stringify({ type: 'products.created', data: buildProduct() })
  const start = performance.now()
  let left = DELIVERIES
  const send = async () => {
    while (left-- > 0) await (await request(url, { method: 'POST', body, dispatcher })).body.dump()
  }
  await Promise.all(Array.from({ length: MAX_IN_FLIGHT }, send))
  await all
  const rate = DELIVERIES / ((performance.now() - start) / 1_000)
  await dispatcher.close()
  close()
  return rate
}

async function measureDeliveries(engine: Engine): Promise<void> {
  const alone = await measureClient()
  const { url, all, close } = await startReceiver(DELIVERIES)
  const settings = { WEBHOOK_ALLOW_HTTP: 'true', WEBHOOK_ALLOW_PRIVATE: 'true' }
  await withApp(engine, settings, async (app) => {
    await app.db.write((tx) => createWebhook(tx, app.db, { url, events: ['products.created'] }, COMMAND_LINE))
    await app.db.write(async (tx) => {
      for (let row = 0; row < DELIVERIES; row++) await createRecord(buildWriteContext(tx, app.db, products), buildProduct(), COMMAND_LINE)
    })
    const start = performance.now()
    await all
    const rate = DELIVERIES / ((performance.now() - start) / 1_000)
    print(
      `${engine}: ${Math.round(rate)} deliveries/s to one webhook, from the commit to the last; the client alone ${Math.round(alone)} posts/s (${Math.round((100 * rate) / alone)} %)`,
    )
  })
  close()
}

async function withApp(engine: Engine, settings: Record<string, string>, work: (app: App) => Promise<void>): Promise<void> {
  const scratch = await createScratch[engine]()
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

for (const engine of engines) await measureEnqueueing(engine)
for (const engine of engines) await measureDeliveries(engine)
await benchFeed(engines, print)
