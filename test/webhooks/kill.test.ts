// A killed process still delivers every acknowledged write, and nothing else.
import { randomUUID } from 'node:crypto'
import { Agent } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type Answer, ask, type Service as Process, serve, waitForConnections } from '../consistency/process.ts'
import { connect, type Dialect, type Query } from '../dialects.ts'
import { onEach } from '../helper.ts'
import { LOCAL, type Received, Receiver, verify } from './receiver.ts'

// Most of each test is waiting.
t.jobs = 2

const UPDATES = Number(process.env.UPDATES || 200)
const KILLS = Number(process.env.KILLS || 2)
/** Share of attempts that the receiver fails. */
const FAILING = 0.2
/** Each writer changes a separate product, so that a retry changes nothing. */
const WRITERS = 4
/** Milliseconds within which every delivery must arrive. A killed process's attempts are repeated after 30 s. */
const PATIENCE = 600_000

interface Update {
  product: number
  stock: number
}

/** Requested updates, and the acknowledged ones among them. */
interface Ledger {
  requested: Set<string>
  acknowledged: Set<string>
}

const formatName = ({ product, stock }: Update): string => `${product}:${stock}`
const readName = ({ event }: Received): string => formatName({ product: event.data.id, stock: event.data.record.stock })

class Service {
  readonly #t: Test
  readonly #database: string
  readonly #query: Query
  #agent = new Agent({ keepAlive: true })
  #served: Promise<Process>

  constructor(t: Test, database: string, query: Query) {
    this.#t = t
    this.#database = database
    this.#query = query
    this.#served = this.#serve()
  }

  #serve = (): Promise<Process> => serve(this.#t, this.#database, LOCAL)

  /** Kills the process with SIGKILL and starts a new one. */
  async kill(): Promise<void> {
    const served = await this.#served
    this.#served = (async () => {
      await served.kill()
      this.#agent.destroy()
      this.#agent = new Agent({ keepAlive: true })
      if (this.#database.startsWith('postgres')) await waitForConnections(this.#query)
      return this.#serve()
    })()
    await this.#served
  }

  /** Repeats a request until it is answered, since the fate of an unanswered request is unknown. */
  async ask(method: string, path: string, sent: Parameters<typeof ask>[4] = {}): Promise<Answer> {
    for (;;) {
      const { origin } = await this.#served
      const answer = await ask(this.#agent, origin, method, path, sent).catch(() => undefined)
      if (answer && answer.status !== 503) return answer
      await setTimeout(20)
    }
  }

  async create(path: string, body: unknown): Promise<Record<string, unknown>> {
    const { status, text } = await this.ask('POST', path, { body, headers: { 'idempotency-key': `"${randomUUID()}"` } })
    if (status !== 201) throw new Error(`${path}: ${status} ${text}`)
    return JSON.parse(text)
  }

  async end(): Promise<void> {
    this.#agent.destroy()
    await (await this.#served).kill()
  }
}

async function write(service: Service, { requested, acknowledged }: Ledger, updates: Update[], onAcknowledged: () => void): Promise<void> {
  for (let update = updates.shift(); update; update = updates.shift()) {
    const { product, stock } = update
    requested.add(formatName(update))
    const { status, text } = await service.ask('PATCH', `/api/products/${product}/`, { body: { stock } })
    if (status !== 200) throw new Error(`${status} ${text}`)
    acknowledged.add(formatName(update))
    onAcknowledged()
  }
}

onEach(`${UPDATES} acknowledged updates are all delivered despite ${KILLS} kills`, async (t: Test, dialect: Dialect) => {
  const database = await dialect.create(t)
  const query = await connect(t, database)
  const accepted = new Map<string, Received>()
  let failed = 0
  const receiver = await Receiver.start(t, (response, received) => {
    if (Math.random() < FAILING) {
      failed++
      return response.writeHead(500).end()
    }
    accepted.set(received.message, received)
    return response.end()
  })
  const service = new Service(t, database, query)
  const { secret } = await service.create('/api/webhooks/', { url: receiver.url, events: ['products.updated'] })
  for (let n = 1; n <= WRITERS; n++) await service.create('/api/products/', { sku: `P${n}`, name: 'Shirt', price: 1 })

  // Each update sets a unique stock. A few requests are refused and must cause no delivery.
  const updates = Array.from({ length: UPDATES }, (_, n): Update => ({ product: (n % WRITERS) + 1, stock: n + 1 }))
  const parts = [...Map.groupBy(updates, ({ product }) => product).values()]
  const ledger: Ledger = { requested: new Set(), acknowledged: new Set() }
  const moments = Array.from({ length: KILLS }, () => Math.floor(Math.random() * UPDATES)).sort((a, b) => a - b)
  let killing = Promise.resolve()
  const onAcknowledged = () => {
    while (moments.length > 0 && ledger.acknowledged.size > Number(moments[0])) {
      moments.shift()
      killing = killing.then(async () => {
        await setTimeout(Math.random() * 300)
        await service.kill()
      })
    }
  }
  const sendRefused = async () => {
    for (let n = 0; n < 10; n++) {
      const { status } = await service.ask('PATCH', '/api/products/1/', { body: { stock: 1_000_000 + n, category: 99 } })
      t.equal(status, 400)
    }
  }
  await Promise.all([sendRefused(), ...parts.map((part) => write(service, ledger, part, onAcknowledged))])
  await killing
  t.equal(moments.length, 0, 'every kill was done')
  t.equal(ledger.acknowledged.size, UPDATES)

  // Back-off takes minutes and hours in production, so failed deliveries are made due here.
  const past = dialect.name === 'pg' ? "now() - interval '1 second'" : String(Date.now() - 1_000)
  const missing = () => {
    const names = new Set([...accepted.values()].map(readName))
    return [...ledger.acknowledged].filter((name) => !names.has(name))
  }
  const start = Date.now()
  const unfinished = "select id from deliveries where status in ('pending', 'sending') limit 1"
  while (Date.now() - start < PATIENCE && (missing().length > 0 || (await query(unfinished)).length > 0)) {
    await query(`update deliveries set due_at = ${past} where status = 'pending' and attempts > 0`)
    await setTimeout(250)
  }
  const figures = { attempts: receiver.all.length, failed, messages: accepted.size, after: `${Date.now() - start} ms` }
  t.comment(JSON.stringify(figures))

  t.strictSame(missing(), [], 'each acknowledged update arrived')
  t.ok(failed > 0, 'some attempts failed')
  const never = receiver.all.filter((received) => !ledger.requested.has(readName(received)))
  t.strictSame(never.map(readName), [], 'nothing arrived that was never written')
  const bodies = new Map<string, string>()
  const faults: string[] = []
  for (const received of receiver.all) {
    const { message, body } = received
    try {
      verify(String(secret), received)
    } catch (error) {
      faults.push(`${message}: ${error}`)
    }
    if ((bodies.get(message) ?? body) !== body) faults.push(`${message} has two bodies`)
    bodies.set(message, body)
  }
  t.strictSame(faults, [])
  const deliveries = await query('select message, event, status from deliveries')
  t.equal(new Set(deliveries.map(({ message }) => message)).size, deliveries.length)
  t.equal(new Set(deliveries.map(({ event }) => event)).size, deliveries.length, 'no change has two deliveries')
  t.ok(deliveries.every(({ status }) => status === 'delivered'))
  const messages = new Set(deliveries.map(({ message }) => message))
  t.strictSame(
    [...bodies.keys()].filter((message) => !messages.has(message)),
    [],
    'each message that arrived belongs to one delivery',
  )
  // Each state has one id.
  const names = [...accepted.values()].map(readName)
  t.equal(new Set(names).size, names.length)
  await service.end()
})
