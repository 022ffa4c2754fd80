// Sends the due deliveries of one webhook, up to MAX_IN_FLIGHT at a time. Each webhook has its own job, so a slow receiver delays no other.
import { setTimeout } from 'node:timers/promises'
import { eq, inArray, type SQL, sql } from 'drizzle-orm'
import { columnsByName, type Database, type Queries } from '../../drizzle/database.ts'
import { memoize } from '../../drizzle/memoize.ts'
import { cachePerDatabase } from '../../drizzle/per-database.ts'
import { buildTuples, toDriverValue } from '../../drizzle/rows.ts'
import { placeholder } from '../../drizzle/statement.ts'
import { delayFailure } from './dispatch.ts'
import { computeOutcome, type Delivery, type Outcome } from './outcome.ts'
import { SEND_TIMEOUT, type Sender } from './send.ts'
import { signHeaders } from './sign.ts'
import { applyOutcomes, listSecrets } from './webhooks.ts'

/** Deliveries in flight to one webhook, across all instances. */
export const MAX_IN_FLIGHT = 10

/** Milliseconds after which a delivery in flight counts as lost and is sent again. */
const CLAIM_TIME = SEND_TIMEOUT + 10_000

interface FinishedAttempt {
  delivery: Delivery
  /** Undefined if the stopping service aborted the attempt. It does not count, and the delivery is sent again. */
  outcome: Outcome | undefined
}

/** Milliseconds that deliveries in flight have to finish when the service stops. */
const GRACE = 4_000

/** Milliseconds that a finished attempt waits for others, which share its transaction. */
const GATHER_TIME = 3

/** Sender and schedule of a delivery run. */
interface Transport {
  sender: Sender
  /** Milliseconds before each attempt; SCHEDULE by default. */
  schedule?: readonly number[] | undefined
}

/** Returns the functions that wake the delivery runs of this process, by webhook. */
const getWakers = memoize((_db: Database) => new Map<number, () => void>())

/**
 * Sends due deliveries until none is left or `signal` aborts, and returns their number. If this process is already delivering to the
 * webhook, wakes that run and returns 0: a run that waits for a slow attempt would claim new deliveries late.
 */
export async function deliverDue(db: Database, transport: Transport, webhook: number, signal: AbortSignal): Promise<number> {
  const wakers = getWakers(db)
  const wake = wakers.get(webhook)
  if (wake) {
    wake()
    return 0
  }
  const aborting = new AbortController()
  const stop = () => {
    wakers.get(webhook)?.()
    void setTimeout(GRACE, undefined, { ref: false }).then(() => aborting.abort())
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    const setWaker = (wake: () => void) => wakers.set(webhook, wake)
    const run = { ...transport, webhook, stopping: signal, aborted: aborting.signal, setWaker }
    return await delayFailure(signal, () => deliverUntilIdle(db, run))
  } finally {
    wakers.delete(webhook)
    signal.removeEventListener('abort', stop)
  }
}

interface DeliveryRun extends Transport {
  webhook: number
  /** Aborts when no further attempt may start. */
  stopping: AbortSignal
  /** Aborts attempts in flight. */
  aborted: AbortSignal
  /** Registers the function that wakes the run. */
  setWaker(wake: () => void): void
}

async function deliverUntilIdle(db: Database, { webhook, stopping, aborted, setWaker, ...transport }: DeliveryRun): Promise<number> {
  const inFlight = new Set<Promise<void>>()
  let finished: FinishedAttempt[] = []
  let count = 0
  for (;;) {
    const { promise: waking, resolve } = Promise.withResolvers<void>()
    setWaker(resolve)
    // The transaction that claims deliveries also records the attempts that have finished meanwhile.
    const attempts = finished
    finished = []
    const batch = await db.write((tx) => recordAndClaim(tx, db, webhook, attempts, stopping.aborted))
    for (const delivery of batch.deliveries) {
      const attempt = attemptDelivery(transport, batch, delivery, aborted).then((outcome) => {
        finished.push({ delivery, outcome })
        inFlight.delete(attempt)
      })
      inFlight.add(attempt)
      // `Promise.race` below reports a failure. Without a handler until then, it would be an unhandled rejection.
      attempt.catch(() => {})
    }
    count += attempts.filter(({ outcome }) => outcome).length
    if (inFlight.size === 0 && finished.length === 0) return count
    if (finished.length === 0) {
      await Promise.race([...inFlight, waking])
      // Transactions are expensive, so a single one records all attempts that finish at about the same time.
      await Promise.race([Promise.all(inFlight), setTimeout(GATHER_TIME)])
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
  // The lock serialises the claims of all instances. Without it they could exceed MAX_IN_FLIGHT together.
  await db.dialect.lock(tx, webhooks, id)
  await recordAttempts(tx, db, finished)
  const [webhook] = await tx.select().from(webhooks).where(eq(webhooks.id, id))
  const none: ClaimedBatch = { url: '', secrets: [], deliveries: [] }
  if (!webhook) return none
  const outcomes = finished.flatMap(({ outcome }) => outcome ?? [])
  const isEnabled = await applyOutcomes(tx, db, webhook, outcomes)
  if (!isEnabled || stopping) return none
  const deliveries = await claimDue(tx, db, id)
  return { url: webhook.url, secrets: deliveries.length > 0 ? await listSecrets(tx, db, id) : [], deliveries }
}

/** Columns that an attempt changes. */
const ATTEMPT_COLUMNS = ['status', 'attempts', 'due_at', 'response_status', 'latency_ms', 'error', 'history', 'updated_at'] as const

/** The statements that record and claim deliveries, compiled once per database. */
const getStatements = cachePerDatabase((db, table: Database['tables']['deliveries']) => {
  const { webhook_pauses: pauses } = db.tables
  const [webhook, now] = [placeholder(0), placeholder(1)]
  const due = (status: string) =>
    sql`select id from (select id from ${table} where webhook = ${webhook} and status = ${sql.raw(`'${status}'`)} and due_at <= ${now}
      order by due_at limit ${sql.raw(String(MAX_IN_FLIGHT))}) as ${sql.identifier(status)}`
  return {
    /** Statements by the number of attempts that they record, minus one. */
    record: Array.from({ length: MAX_IN_FLIGHT }, (_, last) => buildRecordStatement(table, last + 1)),
    // Lost deliveries come first: they are few and late. The second column counts the deliveries in flight.
    due: sql`select id, (select count(*) from ${table} where webhook = ${webhook} and status = 'sending' and due_at > ${now})
      from (${due('sending')} union all ${due('pending')}) as due
      where not exists (select 1 from ${pauses} where webhook = ${webhook} and until > ${now})`,
  }
})

async function claimDue(tx: Queries, db: Database, webhook: number): Promise<Delivery[]> {
  const { deliveries: table } = db.tables
  const values = [webhook, toDriverValue(table.due_at, now())]
  const rows = await tx.runPrepared(getStatements(db, table).due, values)
  const ids = rows.filter(([, inFlight], place) => Number(inFlight) + place < MAX_IN_FLIGHT).map(([id]) => Number(id))
  if (ids.length === 0) return []
  const claim = { status: 'sending', due_at: new Date(Date.now() + CLAIM_TIME).toISOString(), version: sql`${table.version} + 1` }
  return tx.update(table).set(claim).where(inArray(table.id, ids)).returning()
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
    const result = await sender.send(url, signHeaders(secrets, message, body), body, signal)
    return computeOutcome(delivery, result, at, schedule)
  } catch (error) {
    if (signal.aborted) return undefined
    throw error
  }
}

/**
 * Records attempts, up to MAX_IN_FLIGHT in one statement, which saves round trips. Skips deliveries that counted as lost and are in flight
 * again.
 */
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
  const statements = getStatements(db, table).record
  while (rows.length > 0) {
    const batch = rows.splice(0, MAX_IN_FLIGHT)
    await tx.runPrepared(statements[batch.length - 1] as SQL, batch.flat())
  }
}

function buildRecordStatement(table: Database['tables']['deliveries'], count: number): SQL {
  // A cast takes a type without its collation.
  const types = [...ATTEMPT_COLUMNS.map((name) => table[name]), table.id, table.due_at].map((column) =>
    column.getSQLType().replace(/ collate .*/, ''),
  )
  const name = (place: number) => sql.raw(`attempts.column${place + 1}`)
  const values = buildTuples(count, types.length, (value, place) => sql`cast(${value} as ${sql.raw(String(types[place]))})`)
  const set = ATTEMPT_COLUMNS.map((column, place) => sql`${sql.identifier(column)} = ${name(place)}`)
  return sql`update ${table} set ${sql.join(set, sql`, `)}, version = version + 1 from (values ${values}) as attempts
    where ${table.id} = ${name(ATTEMPT_COLUMNS.length)} and ${table.status} = 'sending' and ${table.due_at} = ${name(ATTEMPT_COLUMNS.length + 1)}`
}

const now = () => new Date().toISOString()
