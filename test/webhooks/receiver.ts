// A receiver of webhooks: a real HTTP server that records requests and answers as configured.
import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { Webhook } from 'standardwebhooks'
import type { Test } from 'tap'
import type { AppOptions } from '../../src/app.ts'
import type { App } from '../../src/http/routes.ts'
import { type Dialect, existing } from '../dialects.ts'
import { ask, build } from '../helper.ts'

export interface Received {
  method: string
  url: string
  headers: IncomingHttpHeaders
  /** The `webhook-id` header. */
  message: string
  body: string
  // Each test states the shape that it expects.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  event: any
  at: number
}

export type Reply = (response: ServerResponse, received: Received) => unknown

/** Milliseconds that a test waits for an event. */
export const PATIENCE = 300_000

export class Receiver {
  readonly all: Received[] = []
  url = ''
  reply: Reply = (response) => response.end()
  readonly #arrivals = new EventEmitter()

  static async start(t: Pick<Test, 'teardown'>, reply?: Reply): Promise<Receiver> {
    const receiver = new Receiver()
    if (reply) receiver.reply = reply
    await receiver.listen(t)
    return receiver
  }

  /** Listens on `port`, by default a random one, and sets `url`. Returns a function that stops it. */
  async listen(t: Pick<Test, 'teardown'>, port = 0): Promise<() => Promise<void>> {
    const take: RequestListener = async (request, response) => {
      const body = await text(request).catch(() => undefined)
      if (body === undefined) return
      const { headers, method = '', url = '' } = request
      const event = body === '' ? undefined : JSON.parse(body)
      const received: Received = { method, url, headers, message: String(headers['webhook-id']), body, event, at: Date.now() }
      this.all.push(received)
      this.reply(response, received)
      this.#arrivals.emit('arrival')
    }
    const server = createServer(take).listen(port, '127.0.0.1')
    await once(server, 'listening')
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
    const close = async () => {
      server.closeAllConnections()
      if (server.listening) await new Promise((resolve) => server.close(resolve))
    }
    t.teardown(close)
    return close
  }

  get port(): number {
    return Number(new URL(this.url).port)
  }

  /** Waits until `count` requests that meet `where` have arrived. Throws after PATIENCE. */
  async count(count: number, where: (received: Received) => boolean = () => true): Promise<Received[]> {
    const signal = AbortSignal.timeout(PATIENCE)
    for (;;) {
      const matching = this.all.filter(where)
      if (matching.length >= count) return matching
      await once(this.#arrivals, 'arrival', { signal }).catch(() => {
        throw new Error(
          `${count} were expected, and ${matching.length} arrived: ${this.all.map(({ body }) => body.slice(0, 100)).join('\n')}`,
        )
      })
    }
  }
}

/** Verifies the signature with an independent library. Throws if it is invalid. */
export const verify = (secret: string, { body, headers }: Received): unknown =>
  new Webhook(secret).verify(body, headers as Record<string, string>)

/** Settings that allow receivers on this machine. */
export const LOCAL = { WEBHOOK_ALLOW_HTTP: 'true', WEBHOOK_ALLOW_PRIVATE: 'true' }
export const WORKS = { WORKER: 'true', ...LOCAL }

export type Options = Partial<AppOptions> & { env?: Record<string, string> }

/** Builds the application with a worker. */
export const buildWithWorker = (t: Test, dialect: Dialect, { env, ...options }: Options = {}): Promise<App> =>
  build(t, dialect, { ...options, env: { ...WORKS, ...env } })

/** Returns a dialect for another application on the same database. */
export const onSameDatabase = (app: App): Dialect => existing({ name: 'the same', skip: false }, app.config.DATABASE_URL)

export interface CreatedWebhook {
  id: number
  secret: string
}

/** Creates a webhook. Throws if it is refused. */
export async function createWebhook(app: App, url: string, more: Record<string, unknown> = {}): Promise<CreatedWebhook> {
  const { status, body } = await ask(app, 'POST', '/api/webhooks/', { url, events: ['*'], ...more })
  if (status !== 201) throw new Error(`${status} ${JSON.stringify(body)}`)
  return body
}

/** Polls until `find` returns a value. Throws after PATIENCE. */
export async function waitFor<T>(find: () => Promise<T | undefined | false>, what = 'the expected event'): Promise<T> {
  const end = Date.now() + PATIENCE
  for (;;) {
    const result = await find()
    if (result) return result
    if (Date.now() > end) throw new Error(`${what} has not happened`)
    await setTimeout(50)
  }
}

// biome-ignore lint/suspicious/noExplicitAny: the bodies of answers
export type Body = any

/** Waits until a delivery meets `where`, and returns it. */
export const waitForDelivery = (app: App, query: string, where: (delivery: Body) => boolean): Promise<Body> =>
  waitFor(async () => (await ask(app, 'GET', `/api/deliveries/?page_size=100&${query}`)).body.results.find(where), `a delivery (${query})`)

/** Waits until the worker has read the whole change log and no delivery is pending. */
export async function waitForDeliveries(app: App, webhook?: number): Promise<void> {
  const { consumer_offsets: offsets, changes } = app.db.tables
  await waitFor(async () => {
    const rows = await app.db.read.select({ id: changes.id }).from(changes)
    const newest = Math.max(0, ...rows.map(({ id }) => id))
    const [cursor] = await app.db.read.select().from(offsets)
    if ((cursor?.change ?? 0) < newest) return false
    const { body } = await ask(app, 'GET', `/api/deliveries/?status__in=pending,sending${webhook ? `&webhook=${webhook}` : ''}`)
    return body.results.length === 0
  }, 'the end of all deliveries')
}
