// Sends what is due to one webhook, a few at the same time: a slow receiver keeps nobody else waiting.
import { setTimeout } from 'node:timers/promises'
import { eq, inArray, type SQL, sql } from 'drizzle-orm'
import { columnsByName, type Database, type Queries } from '../../drizzle/database.ts'
import { cachePerDatabase } from '../../drizzle/per-database.ts'
import { buildTuples, toDriverValue } from '../../drizzle/rows.ts'
import { placeholder } from '../../drizzle/statement.ts'
import { type Delivery, type Outcome, outcomeOf } from './outcome.ts'
import { SEND_TIMEOUT, type Sender } from './send.ts'
import { signedHeaders } from './sign.ts'
import { failingSlowly } from './slowly.ts'
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

/** Milliseconds that one which has ended waits for the others. */
const GATHER = 3

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
    void setTimeout(GRACE, undefined, { ref: false }).then(() => cut.abort())
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    const woken = (next: () => void) => ofDatabase.set(webhook, next)
    const turn = { ...means, webhook, stopping: signal, cut: cut.signal, woken }
    return await failingSlowly(signal, () => deliverInTurn(db, turn))
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
      // Who waits for it hears of it. It may fail before that.
      one.catch(() => {})
    }
    sent += noted.filter(({ outcome }) => outcome).length
    if (underWay.size === 0 && finished.length === 0) return sent
    if (finished.length === 0) {
      await Promise.race([...underWay, call])
      // A transaction is dear: what ends at about the same time is noted by one.
      await Promise.race([Promise.all(underWay), setTimeout(GATHER)])
    }
  }
}

interface Taken {
  url: string
  secrets: readonly string[]
  deliveries: Delivery[]
}

async function step(tx: Queries, db: Database, id: number, finished: readonly Finished[], stopping: boolean): Promise<Taken> {
  const { webhooks } = db.tables
  // Who takes deliveries of a webhook does so in turn: so many, and not more, are under way.
  await db.dialect.lock(tx, webhooks, id)
  await note(tx, db, finished)
  const [webhook] = await tx.select().from(webhooks).where(eq(webhooks.id, id))
  const none: Taken = { url: '', secrets: [], deliveries: [] }
  if (!webhook) return none
  const outcomes = finished.flatMap(({ outcome }) => outcome ?? [])
  const still = await applyToWebhook(tx, db, webhook, outcomes)
  if (!still || stopping) return none
  const deliveries = await take(tx, db, id)
  return { url: webhook.url, secrets: deliveries.length > 0 ? await secretsOf(tx, db, id) : [], deliveries }
}

/** The columns that an attempt changes. */
const NOTED = ['status', 'attempts', 'due_at', 'response_status', 'latency_ms', 'error', 'history', 'updated_at'] as const

/** Deliveries that are noted and looked for: compiled once. */
const statementsOf = cachePerDatabase((db, table: Database['tables']['deliveries']) => {
  const { webhook_pauses: pauses } = db.tables
  const [webhook, now] = [placeholder(0), placeholder(1)]
  const due = (status: string) =>
    sql`select id from (select id from ${table} where webhook = ${webhook} and status = ${sql.raw(`'${status}'`)} and due_at <= ${now}
      order by due_at limit ${sql.raw(String(MAX_IN_FLIGHT))}) as ${sql.identifier(status)}`
  return {
    /** Of so many and one. */
    note: Array.from({ length: MAX_IN_FLIGHT }, (_, last) => noteOf(table, last + 1)),
    // Those that were lost first: there are few, and they are late. Beside each, how many are under way.
    due: sql`select id, (select count(*) from ${table} where webhook = ${webhook} and status = 'sending' and due_at > ${now})
      from (${due('sending')} union all ${due('pending')}) as due
      where not exists (select 1 from ${pauses} where webhook = ${webhook} and until > ${now})`,
  }
})

async function take(tx: Queries, db: Database, webhook: number): Promise<Delivery[]> {
  const { deliveries: table } = db.tables
  const values = [webhook, toDriverValue(table.due_at, now())]
  const rows = await tx.runPrepared(statementsOf(db, table).due, values)
  const ids = rows.filter(([, underWay], place) => Number(underWay) + place < MAX_IN_FLIGHT).map(([id]) => Number(id))
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

/** One statement for all: each is a way to the database and back. Not for those that were taken for lost, and are under way again. */
async function note(tx: Queries, db: Database, finished: readonly Finished[]): Promise<void> {
  const { deliveries: table } = db.tables
  const columns = columnsByName(table)
  const rows = finished.map(({ delivery, outcome }) => {
    const values: Record<string, unknown> = { ...delivery, ...(outcome?.values ?? { status: 'pending', due_at: now() }), updated_at: now() }
    return [...NOTED.map((name) => toDriverValue(columns[name], values[name])), delivery.id, toDriverValue(table.due_at, delivery.due_at)]
  })
  const statements = statementsOf(db, table).note
  while (rows.length > 0) {
    const some = rows.splice(0, MAX_IN_FLIGHT)
    await tx.runPrepared(statements[some.length - 1] as SQL, some.flat())
  }
}

function noteOf(table: Database['tables']['deliveries'], count: number): SQL {
  // How texts are sorted is of no use here, and no part of a type.
  const types = [...NOTED.map((name) => table[name]), table.id, table.due_at].map((column) =>
    column.getSQLType().replace(/ collate .*/, ''),
  )
  const name = (place: number) => sql.raw(`noted.column${place + 1}`)
  const values = buildTuples(count, types.length, (value, place) => sql`cast(${value} as ${sql.raw(String(types[place]))})`)
  const set = NOTED.map((column, place) => sql`${sql.identifier(column)} = ${name(place)}`)
  return sql`update ${table} set ${sql.join(set, sql`, `)}, version = version + 1 from (values ${values}) as noted
    where ${table.id} = ${name(NOTED.length)} and ${table.status} = 'sending' and ${table.due_at} = ${name(NOTED.length + 1)}`
}

const now = () => new Date().toISOString()
