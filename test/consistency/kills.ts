// Kills the service during writes, and checks that no acknowledged write is lost and none is half done.
import { randomUUID } from 'node:crypto'
import { Agent } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import { connect } from '../dialects.ts'
import type { Scope } from '../node-process.ts'
import { ask, askUntilServed, BUSY, serve, waitForConnections } from './process.ts'
import { pick, randomBelow } from './random.ts'
import { NO_ROUTE, PAGE_SIZE, type Report } from './session.ts'
import { type Body, getKey } from './subject.ts'

/** Concurrent writers, each with separate records. */
const WRITERS = 4
/** Operations of a bulk request. */
const BULK_SIZE = 50
/** The service is killed within these milliseconds after the first acknowledgement. */
const KILL_WITHIN = 400

interface Write {
  skus: string[]
  stock: number
  method: string
  path: string
  payload: { body: Body; headers: Record<string, string> }
}

/** A client that sends one write at a time, so that all writes but the last are acknowledged. */
interface Writer {
  brand: string
  ids: Map<string, number>
  /** Acknowledged stocks by sku. */
  stocks: Map<string, number>
  pending: Write | undefined
  acknowledged: number
  /** Counts the writes. Each sets its number as the stock, so every stock is unique. */
  serial: number
}

/** Kills the service repeatedly during writes, and compares its records with the acknowledged ones. */
export async function surviveKills(scope: Scope, database: string, kills: number): Promise<Report> {
  const faults: string[] = []
  const figures = { kills: 0, acknowledged: 0, interrupted: 0, 'interrupted but done': 0, 'interrupted bulks': 0 }
  const query = await connect(scope, database)
  const writers = Array.from({ length: WRITERS }, (_, index): Writer => {
    return { brand: `writer-${index}`, ids: new Map(), stocks: new Map(), pending: undefined, acknowledged: 0, serial: 0 }
  })
  let service = await serve(scope, database)
  let hasBulk: boolean | undefined
  while (figures.kills < kills) {
    const agent = new Agent({ keepAlive: true })
    hasBulk ??= !NO_ROUTE.includes((await askUntilServed(agent, service.origin, 'POST', '/api/products/bulk/', { body: {} })).status)
    const { promise: firstAcknowledgement, resolve: onAcknowledged } = Promise.withResolvers<void>()
    const { origin } = service
    const ends = Promise.all(writers.map((writer) => writeUntilInterrupted(agent, origin, writer, hasBulk === true, onAcknowledged)))
    await Promise.race([firstAcknowledgement, ends.then((reasons) => Promise.reject(new Error(`nothing could be written: ${reasons}`)))])
    await setTimeout(randomBelow(KILL_WITHIN))
    await service.kill()
    for (const reason of await ends) if (reason !== INTERRUPTED) faults.push(reason)
    agent.destroy()
    figures.kills++
    if (database.startsWith('postgres')) await waitForConnections(query)

    service = await serve(scope, database)
    const newAgent = new Agent({ keepAlive: true })
    for (const writer of writers) {
      const { pending } = writer
      const isDone = await checkRecords(newAgent, service.origin, writer, faults)
      if (!pending) continue
      figures.interrupted++
      if (isDone) figures['interrupted but done']++
      if (pending.skus.length > 1) figures['interrupted bulks']++
    }
    newAgent.destroy()
  }
  for (const { acknowledged } of writers) figures.acknowledged += acknowledged
  return { faults, figures }
}

const INTERRUPTED = 'interrupted'

/** Writes until the service is killed, and returns the reason of the end. */
async function writeUntilInterrupted(
  agent: Agent,
  origin: string,
  writer: Writer,
  hasBulk: boolean,
  onAcknowledged: () => void,
): Promise<string> {
  for (;;) {
    const stock = ++writer.serial
    const write = createWrite(writer, stock, hasBulk)
    const { method, path, payload } = write
    writer.pending = write
    const answer = await ask(agent, origin, method, path, payload).catch(() => undefined)
    if (!answer) return INTERRUPTED
    if (answer.status === BUSY) continue
    if (answer.status !== 200 && answer.status !== 201) return `${method} ${path}: ${answer.status} ${answer.text}`
    recordResults(writer, write, answer.text)
    writer.pending = undefined
    writer.acknowledged++
    onAcknowledged()
  }
}

/** Remembers the stocks and ids of an acknowledged write. */
function recordResults({ stocks, ids }: Writer, { skus, stock }: Write, text: string): void {
  const body = JSON.parse(text)
  const results: { id: number }[] = skus.length > 1 ? body.results : [body]
  for (const [index, sku] of skus.entries()) {
    stocks.set(sku, stock)
    ids.set(sku, Number(results[index]?.id))
  }
}

function createWrite({ brand, ids }: Writer, stock: number, hasBulk: boolean): Write {
  const existing = [...ids.keys()]
  const createProduct = (sku: string): Body => ({ sku, name: 'Survivor', price: '1.00', stock, brand })
  const write = (skus: string[], method: string, path: string, body: Body): Write => {
    const headers: Record<string, string> = method === 'POST' ? { 'idempotency-key': `"${randomUUID()}"` } : {}
    return { skus, stock, method, path, payload: { body, headers } }
  }
  const kind = randomBelow(hasBulk ? 8 : 6)
  if (kind < 3 && existing.length > 0) {
    const sku = pick(existing)
    return write([sku], 'PATCH', `/api/products/${ids.get(sku)}/`, { stock })
  }
  if (kind < 6 || (kind === 6 && existing.length < BULK_SIZE)) {
    const sku = `${brand}-${stock}`
    return write([sku], 'POST', '/api/products/', createProduct(sku))
  }
  const isNew = kind === 7
  const skus = isNew ? Array.from({ length: BULK_SIZE }, (_, index) => `${brand}-${stock}-${index}`) : existing.slice(-BULK_SIZE)
  const operations = skus.map((sku) =>
    isNew ? { op: 'create', body: createProduct(sku) } : { op: 'update', id: ids.get(sku), body: { stock } },
  )
  return write(skus, 'POST', '/api/products/bulk/', { operations })
}

/** Compares the records with the acknowledged writes. Returns whether the pending write was done. */
async function checkRecords(agent: Agent, origin: string, writer: Writer, faults: string[]): Promise<boolean> {
  const rows = new Map<string, Body>()
  for (let path: string | null = `/api/products/?brand=${writer.brand}&page_size=${PAGE_SIZE}`; path; ) {
    const { status, text } = await askUntilServed(agent, origin, 'GET', path)
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${text}`)
    const page = JSON.parse(text) as { next: string | null; results: Body[] }
    for (const row of page.results) rows.set(getKey(row), row)
    path = page.next
  }
  const { pending, stocks, ids } = writer
  let done = 0
  for (const [sku, row] of rows) {
    if (pending?.skus.includes(sku) && row.stock === pending.stock) {
      done++
      stocks.set(sku, pending.stock)
      ids.set(sku, Number(row.id))
    } else if (stocks.get(sku) !== row.stock) faults.push(`${sku} has stock ${row.stock}, but ${stocks.get(sku)} was acknowledged`)
  }
  for (const sku of stocks.keys()) if (!rows.has(sku)) faults.push(`${sku} was acknowledged but is missing`)
  if (pending && done > 0 && done < pending.skus.length) faults.push(`a bulk of ${pending.skus.length} operations did only ${done}`)
  if (pending) await retry(agent, origin, writer, pending, done > 0, faults)
  writer.pending = undefined
  return done > 0
}

/** Retries an interrupted write. If it was done, the retry must succeed without doing it again. */
async function retry(agent: Agent, origin: string, writer: Writer, write: Write, isDone: boolean, faults: string[]): Promise<void> {
  const { method, path, payload } = write
  const { status, headers, text } = await askUntilServed(agent, origin, method, path, payload)
  const isReplayed = headers['idempotency-replayed'] === 'true'
  if ((status !== 200 && status !== 201) || (method === 'POST' && isReplayed !== isDone))
    return void faults.push(
      `retry of ${method} ${path}, which was ${isDone ? '' : 'not '}done: ${status}, replayed: ${isReplayed}, ${text.slice(0, 200)}`,
    )
  recordResults(writer, write, text)
}
