// Sends what is due to one webhook, a few at the same time: a slow receiver keeps nobody else waiting.
import { setTimeout } from 'node:timers/promises'
import { eq, inArray, type SQL, sql } from 'drizzle-orm'
import { columnsByName, type Database, type Queries } from '../../drizzle/database.ts'
import { cachePerDatabase } from '../../drizzle/per-database.ts'
import { buildTuples, toDriverValue } from '../../drizzle/rows.ts'
import { placeholder } from '../../drizzle/statement.ts'
import { computeOutcome, type Delivery, type Outcome } from './outcome.ts'
import { SEND_TIMEOUT, type Sender } from './send.ts'
import { signHeaders } from './sign.ts'
import { delayFailure } from './slowly.ts'
import { applyOutcomes, listSecrets } from './webhooks.ts'

/** Deliveries to one webhook that are under way, of all instances together. */
export const MAX_IN_FLIGHT = 10

/** Milliseconds after which one that is under way is taken for lost, and sent again. */
const CLAIM_TIME = SEND_TIMEOUT + 10_000

interface FinishedAttempt {
  delivery: Delivery
  /** Undefined where it was not sent to the end because the service stops: it is sent again, and this is no attempt. */
  outcome: Outcome | undefined
}

/** Milliseconds in which what is under way may come to its end when the service stops. */
const GRACE = 4_000

/** Milliseconds that one which has ended waits for the others. */
const GATHER_TIME = 3

/** `schedule` has the milliseconds before each attempt. */
export interface Transport {
  sender: Sender
  schedule?: readonly number[] | undefined
}

/** What wakes those who are delivering in this process, by database and webhook. */
const delivering = new WeakMap<Database, Map<number, () => void>>()

/**
 * Ends when nothing is due any more, or `signal` says so. Returns how many were sent. Where this process is about it already, it only
 * looks again: of those that are under way, one may take long.
 */
export async function deliverDue(db: Database, means: Transport, webhook: number, signal: AbortSignal): Promise<number> {
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
    return await delayFailure(signal, () => deliverUntilIdle(db, turn))
  } finally {
    ofDatabase.delete(webhook)
    signal.removeEventListener('abort', stop)
  }
}

interface DeliveryRun extends Transport {
  webhook: number
  /** Nothing more is begun. */
  stopping: AbortSignal
  /** What is under way is cut off. */
  cut: AbortSignal
  /** Says how to be woken. */
  woken(next: () => void): void
}

async function deliverUntilIdle(db: Database, { webhook, stopping, cut, woken, ...means }: DeliveryRun): Promise<number> {
  const underWay = new Set<Promise<void>>()
  let finished: FinishedAttempt[] = []
  let sent = 0
  for (;;) {
    const { promise: call, resolve } = Promise.withResolvers<void>()
    woken(resolve)
    // What came to an end meanwhile is noted in the transaction that takes the next.
    const noted = finished
    finished = []
    const taken = await db.write((tx) => recordAndClaim(tx, db, webhook, noted, stopping.aborted))
    for (const delivery of taken.deliveries) {
      const one = attemptDelivery(means, taken, delivery, cut).then((outcome) => {
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
      await Promise.race([Promise.all(underWay), setTimeout(GATHER_TIME)])
    }
  }
}

interface ClaimedBatch {
  url: string
  secrets: readonly string[]
  deliveries: Delivery[]
}

async function recordAndClaim(
  tx: Queries,
  db: Database,
  id: number,
  finished: readonly FinishedAttempt[],
  stopping: boolean,
): Promise<ClaimedBatch> {
  const { webhooks } = db.tables
  // Who takes deliveries of a webhook does so in turn: so many, and not more, are under way.
  await db.dialect.lock(tx, webhooks, id)
  await recordAttempts(tx, db, finished)
  const [webhook] = await tx.select().from(webhooks).where(eq(webhooks.id, id))
  const none: ClaimedBatch = { url: '', secrets: [], deliveries: [] }
  if (!webhook) return none
  const outcomes = finished.flatMap(({ outcome }) => outcome ?? [])
  const still = await applyOutcomes(tx, db, webhook, outcomes)
  if (!still || stopping) return none
  const deliveries = await claimDue(tx, db, id)
  return { url: webhook.url, secrets: deliveries.length > 0 ? await listSecrets(tx, db, id) : [], deliveries }
}

/** The columns that an attempt changes. */
const ATTEMPT_COLUMNS = ['status', 'attempts', 'due_at', 'response_status', 'latency_ms', 'error', 'history', 'updated_at'] as const

/** Deliveries that are noted and looked for: compiled once. */
const getStatements = cachePerDatabase((db, table: Database['tables']['deliveries']) => {
  const { webhook_pauses: pauses } = db.tables
  const [webhook, now] = [placeholder(0), placeholder(1)]
  const due = (status: string) =>
    sql`select id from (select id from ${table} where webhook = ${webhook} and status = ${sql.raw(`'${status}'`)} and due_at <= ${now}
      order by due_at limit ${sql.raw(String(MAX_IN_FLIGHT))}) as ${sql.identifier(status)}`
  return {
    /** Of so many and one. */
    note: Array.from({ length: MAX_IN_FLIGHT }, (_, last) => buildRecordStatement(table, last + 1)),
    // Those that were lost first: there are few, and they are late. Beside each, how many are under way.
    due: sql`select id, (select count(*) from ${table} where webhook = ${webhook} and status = 'sending' and due_at > ${now})
      from (${due('sending')} union all ${due('pending')}) as due
      where not exists (select 1 from ${pauses} where webhook = ${webhook} and until > ${now})`,
  }
})

async function claimDue(tx: Queries, db: Database, webhook: number): Promise<Delivery[]> {
  const { deliveries: table } = db.tables
  const values = [webhook, toDriverValue(table.due_at, now())]
  const rows = await tx.runPrepared(getStatements(db, table).due, values)
  const ids = rows.filter(([, underWay], place) => Number(underWay) + place < MAX_IN_FLIGHT).map(([id]) => Number(id))
  if (ids.length === 0) return []
  const claimed = { status: 'sending', due_at: new Date(Date.now() + CLAIM_TIME).toISOString(), version: sql`${table.version} + 1` }
  return tx.update(table).set(claimed).where(inArray(table.id, ids)).returning()
}

async function attemptDelivery(
  { sender, schedule }: Transport,
  { url, secrets }: ClaimedBatch,
  delivery: Delivery,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  const { message, body } = delivery
  const at = now()
  try {
    const sent = await sender.send(url, signHeaders(secrets, message, body), body, signal)
    return computeOutcome(delivery, sent, at, schedule)
  } catch (error) {
    if (signal.aborted) return undefined
    throw error
  }
}

/** One statement for all: each is a way to the database and back. Not for those that were taken for lost, and are under way again. */
async function recordAttempts(tx: Queries, db: Database, finished: readonly FinishedAttempt[]): Promise<void> {
  const { deliveries: table } = db.tables
  const columns = columnsByName(table)
  const rows = finished.map(({ delivery, outcome }) => {
    const values: Record<string, unknown> = { ...delivery, ...(outcome?.values ?? { status: 'pending', due_at: now() }), updated_at: now() }
    return [
      ...ATTEMPT_COLUMNS.map((name) => toDriverValue(columns[name], values[name])),
      delivery.id,
      toDriverValue(table.due_at, delivery.due_at),
    ]
  })
  const statements = getStatements(db, table).note
  while (rows.length > 0) {
    const some = rows.splice(0, MAX_IN_FLIGHT)
    await tx.runPrepared(statements[some.length - 1] as SQL, some.flat())
  }
}

function buildRecordStatement(table: Database['tables']['deliveries'], count: number): SQL {
  // How texts are sorted is of no use here, and no part of a type.
  const types = [...ATTEMPT_COLUMNS.map((name) => table[name]), table.id, table.due_at].map((column) =>
    column.getSQLType().replace(/ collate .*/, ''),
  )
  const name = (place: number) => sql.raw(`noted.column${place + 1}`)
  const values = buildTuples(count, types.length, (value, place) => sql`cast(${value} as ${sql.raw(String(types[place]))})`)
  const set = ATTEMPT_COLUMNS.map((column, place) => sql`${sql.identifier(column)} = ${name(place)}`)
  return sql`update ${table} set ${sql.join(set, sql`, `)}, version = version + 1 from (values ${values}) as noted
    where ${table.id} = ${name(ATTEMPT_COLUMNS.length)} and ${table.status} = 'sending' and ${table.due_at} = ${name(ATTEMPT_COLUMNS.length + 1)}`
}

const now = () => new Date().toISOString()
