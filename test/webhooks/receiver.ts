// A receiver of webhooks: a real HTTP server that writes down what arrives, and answers as it is told.
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
  /** Its `webhook-id`. */
  message: string
  body: string
  // What was sent is for the test to say.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  event: any
  at: number
}

export type Reply = (response: ServerResponse, received: Received) => unknown

/** Milliseconds for which a test waits for what is to happen. */
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

  /** Listens, and tells where: `port` to come back to the same place. Returns what ends it. */
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

  /** Waits until so many have arrived for which `where` holds. Throws where they have not after a long time. */
  async count(count: number, where: (received: Received) => boolean = () => true): Promise<Received[]> {
    const signal = AbortSignal.timeout(PATIENCE)
    for (;;) {
      const found = this.all.filter(where)
      if (found.length >= count) return found
      await once(this.#arrivals, 'arrival', { signal }).catch(() => {
        throw new Error(`${count} were expected, and ${found.length} arrived: ${this.all.map(({ body }) => body.slice(0, 100)).join('\n')}`)
      })
    }
  }
}

/** What an independent receiver takes for signed by the secret. Throws for what is not. */
export const verified = (secret: string, { body, headers }: Received): unknown =>
  new Webhook(secret).verify(body, headers as Record<string, string>)

/** Where receivers may be on this machine. */
export const LOCAL = { WEBHOOK_ALLOW_HTTP: 'true', WEBHOOK_ALLOW_PRIVATE: 'true' }
export const WORKS = { WORKER: 'true', ...LOCAL }

export type Options = Partial<AppOptions> & { env?: Record<string, string> }

/** The application at work. */
export const working = (t: Test, dialect: Dialect, { env, ...options }: Options = {}): Promise<App> =>
  build(t, dialect, { ...options, env: { ...WORKS, ...env } })

/** Another application on the same database. */
export const beside = (app: App): Dialect => existing({ name: 'the same', skip: false }, app.config.DATABASE_URL)

export interface Made {
  id: number
  secret: string
}

/** Makes a webhook. Throws where it is refused. */
export async function webhook(app: App, url: string, more: Record<string, unknown> = {}): Promise<Made> {
  const { status, body } = await ask(app, 'POST', '/api/webhooks/', { url, events: ['*'], ...more })
  if (status !== 201) throw new Error(`${status} ${JSON.stringify(body)}`)
  return body
}

/** Asks until `found` gives something. Throws where it has not after a long time. */
export async function until<T>(find: () => Promise<T | undefined | false>, what = 'what was expected'): Promise<T> {
  const end = Date.now() + PATIENCE
  for (;;) {
    const found = await find()
    if (found) return found
    if (Date.now() > end) throw new Error(`${what} has not happened`)
    await setTimeout(50)
  }
}

// biome-ignore lint/suspicious/noExplicitAny: the bodies of answers
export type Body = any

/** Waits until a delivery is as it should be, and returns it. */
export const deliveryWhere = (app: App, query: string, where: (delivery: Body) => boolean): Promise<Body> =>
  until(async () => (await ask(app, 'GET', `/api/deliveries/?page_size=100&${query}`)).body.results.find(where), `a delivery (${query})`)

/** Waits until the whole change log was worked through, and nothing is to be sent any more. */
export async function settled(app: App, webhook?: number): Promise<void> {
  const { consumer_offsets: offsets, changes } = app.db.tables
  await until(async () => {
    const rows = await app.db.read.select({ id: changes.id }).from(changes)
    const newest = Math.max(0, ...rows.map(({ id }) => id))
    const [cursor] = await app.db.read.select().from(offsets)
    if ((cursor?.change ?? 0) < newest) return false
    const { body } = await ask(app, 'GET', `/api/deliveries/?status__in=pending,sending${webhook ? `&webhook=${webhook}` : ''}`)
    return body.results.length === 0
  }, 'the end of all deliveries')
}
