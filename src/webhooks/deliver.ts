// Sends what is due to one webhook, a few at the same time: a slow receiver keeps nobody else waiting.
import { setImmediate } from 'node:timers/promises'
import { and, eq, getTableColumns, gt, inArray, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Queries } from '../../drizzle/database.ts'
import { placeholder } from '../../drizzle/statement.ts'
import { perDatabase } from '../memo.ts'
import { stored } from '../statements.ts'
import { type Delivery, type Outcome, outcomeOf } from './outcome.ts'
import { SEND_TIMEOUT, type Sender } from './send.ts'
import { signedHeaders } from './sign.ts'
import { applyToWebhook, secretsOf } from './webhooks.ts'

/** Deliveries to one webhook that are under way, of all instances together. */
export const MAX_IN_FLIGHT = 10

/** Milliseconds after which one that is under way is taken for lost, and sent again. */
const CLAIM = SEND_TIMEOUT + 10_000

interface Finished {
  delivery: Delivery
  /** Undefined where it was not sent to the end because the service stops: it is sent again, and this is no attempt. */
  outcome: Outcome | undefined
}

/** Milliseconds in which what is under way may come to its end when the service stops. */
const GRACE = 4_000

/** `schedule` has the milliseconds before each attempt. */
export interface Means {
  sender: Sender
  schedule?: readonly number[] | undefined
}

/** What wakes those who are delivering in this process, by database and webhook. */
const delivering = new WeakMap<Database, Map<number, () => void>>()

/**
 * Ends when nothing is due any more, or `signal` says so. Returns how many were sent. Where this process is about it already, it only
 * looks again: of those that are under way, one may take long.
 */
export async function deliverDue(db: Database, means: Means, webhook: number, signal: AbortSignal): Promise<number> {
  const ofDatabase = delivering.get(db) ?? new Map<number, () => void>()
  delivering.set(db, ofDatabase)
  const wake = ofDatabase.get(webhook)
  if (wake) {
    wake()
    return 0
  }
  const cut = new AbortController()
  const stop = () => {
    ofDatabase.get(webhook)?.()
    setTimeout(() => cut.abort(), GRACE).unref()
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await deliverInTurn(db, { ...means, webhook, stopping: signal, cut: cut.signal, woken: (next) => ofDatabase.set(webhook, next) })
  } finally {
    ofDatabase.delete(webhook)
    signal.removeEventListener('abort', stop)
  }
}

interface Delivering extends Means {
  webhook: number
  /** Nothing more is begun. */
  stopping: AbortSignal
  /** What is under way is cut off. */
  cut: AbortSignal
  /** Says how to be woken. */
  woken(next: () => void): void
}

async function deliverInTurn(db: Database, { webhook, stopping, cut, woken, ...means }: Delivering): Promise<number> {
  const underWay = new Set<Promise<void>>()
  let finished: Finished[] = []
  let sent = 0
  for (;;) {
    const { promise: call, resolve } = Promise.withResolvers<void>()
    woken(resolve)
    // What came to an end meanwhile is noted in the transaction that takes the next.
    const noted = finished
    finished = []
    const taken = await db.write((tx) => step(tx, db, webhook, noted, stopping.aborted))
    for (const delivery of taken.deliveries) {
      const one = attempt(means, taken, delivery, cut).then((outcome) => {
        finished.push({ delivery, outcome })
        underWay.delete(one)
      })
      underWay.add(one)
    }
    sent += noted.filter(({ outcome }) => outcome).length
    if (underWay.size === 0 && finished.length === 0) return sent
    if (finished.length === 0) {
      await Promise.race([...underWay, call])
      // A transaction is dear: what ends at about the same time is noted by one.
      await setImmediate()
    }
  }
}

interface Taken {
  url: string
  secrets: readonly string[]
  deliveries: Delivery[]
}

async function step(tx: Queries, db: Database, id: number, finished: readonly Finished[], stopping: boolean): Promise<Taken> {
  const { webhooks, webhook_pauses: pauses } = db.tables
  // Who takes deliveries of a webhook does so in turn: so many, and not more, are under way.
  await db.dialect.lock(tx, webhooks, id)
  for (const one of finished) await note(tx, db, one)
  const [webhook] = await tx.select().from(webhooks).where(eq(webhooks.id, id))
  const none: Taken = { url: '', secrets: [], deliveries: [] }
  if (!webhook) return none
  const outcomes = finished.flatMap(({ outcome }) => outcome ?? [])
  const still = await applyToWebhook(tx, db, webhook, outcomes)
  const [paused] = await tx
    .select({ until: pauses.until })
    .from(pauses)
    .where(and(eq(pauses.webhook, id), gt(pauses.until, now())))
  if (!still || paused || stopping) return none
  return { url: webhook.url, secrets: await secretsOf(tx, db, id), deliveries: await take(tx, db, id) }
}

/** Deliveries that are noted, counted and looked for, compiled once. */
const statementsOf = perDatabase((_db, table: Database['tables']['deliveries']) => {
  const [p0, p1, p2] = [placeholder(0), placeholder(1), placeholder(2)]
  const set = (Object.keys(NOTED) as (keyof typeof NOTED)[]).map((name, place) => sql`${sql.identifier(name)} = ${placeholder(place)}`)
  const [id, due] = [placeholder(set.length), placeholder(set.length + 1)]
  return {
    note: sql`update ${table} set ${sql.join(set, sql`, `)}, version = version + 1 where id = ${id} and status = 'sending' and due_at = ${due}`,
    busy: sql`select count(*) from ${table} where webhook = ${p0} and status = 'sending' and due_at > ${p1}`,
    due: sql`select id from ${table} where webhook = ${p0} and status = ${p2} and due_at <= ${p1} order by due_at limit ${sql.raw(String(MAX_IN_FLIGHT))}`,
  }
})

/** The columns that an attempt changes. */
const NOTED = { status: 0, attempts: 0, due_at: 0, response_status: 0, latency_ms: 0, error: 0, history: 0, updated_at: 0 }

async function take(tx: Queries, db: Database, webhook: number): Promise<Delivery[]> {
  const { deliveries: table } = db.tables
  const { busy, due } = statementsOf(db, table)
  const at = stored(table.due_at, now())
  const [[underWay] = []] = await tx.prepared(busy, [webhook, at])
  const free = MAX_IN_FLIGHT - Number(underWay)
  if (free <= 0) return []
  // Those that were lost first: there are few, and they are late.
  const lost = await tx.prepared(due, [webhook, at, 'sending'])
  const pending = lost.length < free ? await tx.prepared(due, [webhook, at, 'pending']) : []
  const ids = [...lost, ...pending].slice(0, free).map(([id]) => Number(id))
  if (ids.length === 0) return []
  const claimed = { status: 'sending', due_at: new Date(Date.now() + CLAIM).toISOString(), version: sql`${table.version} + 1` }
  return tx.update(table).set(claimed).where(inArray(table.id, ids)).returning()
}

async function attempt(
  { sender, schedule }: Means,
  { url, secrets }: Taken,
  delivery: Delivery,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  const { message, body } = delivery
  const at = now()
  try {
    const sent = await sender.send(url, signedHeaders(secrets, message, body), body, signal)
    return outcomeOf(delivery, sent, at, schedule)
  } catch (error) {
    if (signal.aborted) return undefined
    throw error
  }
}

/** Unless it was taken for lost, and is under way again. */
async function note(tx: Queries, db: Database, { delivery, outcome }: Finished): Promise<void> {
  const { deliveries: table } = db.tables
  const values: Record<string, unknown> = { ...delivery, ...(outcome?.values ?? { status: 'pending', due_at: now() }), updated_at: now() }
  const columns: Record<string, SQLiteColumn> = getTableColumns(table)
  const set = Object.keys(NOTED).map((name) => stored(columns[name], values[name]))
  await tx.prepared(statementsOf(db, table).note, [...set, delivery.id, stored(table.due_at, delivery.due_at)])
}

const now = () => new Date().toISOString()
