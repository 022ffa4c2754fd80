// node test/soak/retries.ts: clients lose connections at random and retry with the same key. Each record must be created once.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect as dial } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { AUTHORIZATION, type Service, serve, withScope } from '../consistency/process.ts'
import { connect, DIALECTS, type Dialect } from '../dialects.ts'
import type { Scope } from '../node-process.ts'

const RETRIES = Number(process.env.RETRIES || 10_000)
const CLIENTS = 16
/** Share of connections that are lost. */
const LOST = 0.6
/** Maximum number of milliseconds after a request until its connection is lost. */
const LOST_WITHIN = 20

const below = (limit: number) => Math.floor(Math.random() * limit)
const say = (text: string) => void process.stdout.write(`${text}\n`)

/** The phase in which a connection is lost: during the request, some time after it, or during the answer. */
type Loss = 'request' | 'after' | 'answer' | undefined

interface Reply {
  status: number
  replayed: boolean
  body: { id?: number; name?: string; code?: string }
}

/** Sends a request on a new connection. Resolves with undefined if the connection is lost. */
function attempt(origin: string, key: string, body: string, loss: Loss): Promise<Reply | undefined> {
  const { hostname, port, host } = new URL(origin)
  const headers = { ...AUTHORIZATION, host, connection: 'close', 'content-type': 'application/json', 'idempotency-key': `"${key}"` }
  const lines = Object.entries({ ...headers, 'content-length': Buffer.byteLength(body) }).map(([name, value]) => `${name}: ${value}\r\n`)
  const request = `POST /api/products/ HTTP/1.1\r\n${lines.join('')}\r\n${body}`
  const { promise, resolve, reject } = Promise.withResolvers<Reply | undefined>()
  const socket = dial(Number(port), hostname)
  const chunks: Buffer[] = []
  const readAnswer = () => Buffer.concat(chunks).toString()
  socket.on('error', (error) => (loss ? resolve(undefined) : reject(error)))
  socket.on('close', () => resolve(loss === 'answer' || loss === undefined ? parse(readAnswer()) : undefined))
  socket.on('data', (chunk) => {
    if (loss !== 'answer') chunks.push(chunk)
    // The answer may arrive in one chunk. It is discarded, as if part of it were lost.
    else socket.destroy()
  })
  socket.on('connect', () => {
    if (loss === 'request') socket.write(request.slice(0, 1 + below(request.length - 1)), () => socket.destroy())
    else
      socket.write(request, () => {
        if (loss === 'after') void setTimeout(below(LOST_WITHIN)).then(() => socket.destroy())
      })
  })
  return promise
}

/** Parses an answer; undefined if it is incomplete. */
function parse(answer: string): Reply | undefined {
  const [head = '', body = ''] = answer.split('\r\n\r\n', 2)
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1])
  if (Buffer.byteLength(body) !== length) return undefined
  return {
    status: Number(/^HTTP\/1.1 (\d+)/.exec(head)?.[1]),
    replayed: /^idempotency-replayed: true/im.test(head),
    body: JSON.parse(body),
  }
}

interface Figures {
  attempts: number
  lost: number
  replayed: number
  'in use': number
  busy: number
}

/** Creates one record, retrying until an answer arrives, and returns its id. */
async function make(origins: string[], name: string, figures: Figures): Promise<number> {
  const key = randomUUID()
  const body = JSON.stringify({ name, price: '1.00', brand: 'Retried' })
  for (;;) {
    const loss: Loss = Math.random() < LOST ? (['request', 'after', 'answer'] as const)[below(3)] : undefined
    figures.attempts++
    const reply = await attempt(origins[below(origins.length)] as string, key, body, loss)
    if (!reply) figures.lost++
    else if (reply.status === 201 && reply.body.name === name) {
      if (reply.replayed) figures.replayed++
      return Number(reply.body.id)
    } else if (reply.status === 409 && reply.body.code === 'idempotency-key-in-use') {
      figures['in use']++
      await setTimeout(5)
    } else if (reply.status === 503) figures.busy++
    else throw new Error(`${name}: ${JSON.stringify(reply)}`)
  }
}

async function run(scope: Scope, dialect: Dialect, instances: number): Promise<void> {
  const database = await dialect.create(scope)
  const services: Service[] = []
  while (services.length < instances) services.push(await serve(scope, database))
  const origins = services.map(({ origin }) => origin)
  const figures: Figures = { attempts: 0, lost: 0, replayed: 0, 'in use': 0, busy: 0 }
  const ids = new Map<string, number>()
  let next = 0
  const client = async () => {
    while (next < RETRIES) {
      const name = `Record ${next++}`
      ids.set(name, await make(origins, name, figures))
    }
  }
  const start = performance.now()
  await Promise.all(Array.from({ length: CLIENTS }, client))
  const seconds = (performance.now() - start) / 1_000

  // Requests whose connection was lost may still be running. They end before the services do.
  for (const { child } of services) {
    const exit = once(child, 'exit')
    child.kill('SIGTERM')
    await exit
  }
  const query = await connect(scope, database)
  const { origin } = await serve(scope, database)
  const answer = await fetch(new URL('/api/products/?brand=Retried&page_size=1&count=exact', origin))
  const { count } = (await answer.json()) as { count: number }
  const rows = await query('select id, name from products')
  const strangers = rows.filter(({ id, name }) => ids.get(String(name)) !== Number(id))
  const right = rows.length === RETRIES && count === RETRIES && ids.size === RETRIES && strangers.length === 0
  const entries = Object.entries(figures).map(([name, value]) => `${name} ${value.toLocaleString('en')}`)
  say(
    `${instances} of them [${dialect.name}]: ${right ? 'right' : 'WRONG'}; ${RETRIES.toLocaleString('en')} keys, ${rows.length.toLocaleString('en')} records; ${entries.join(', ')}; ${seconds.toFixed(0)} s`,
  )
  if (!right) {
    say(`  the list has ${count}; ${strangers.length} records are not those that were answered: ${JSON.stringify(strangers.slice(0, 3))}`)
    process.exitCode = 1
  }
}

for (const dialect of DIALECTS) {
  if (dialect.skip) say(`[${dialect.name}]: not run: ${dialect.skip}`)
  else for (const instances of [1, 2]) await withScope((scope) => run(scope, dialect, instances))
}
