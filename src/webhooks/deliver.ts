// Sends what is due to one webhook, a few at the same time: a slow receiver keeps nobody else waiting.
import { and, asc, count, eq, gt, inArray, lte, type SQL, sql } from 'drizzle-orm'
import type { Database, Queries } from '../../drizzle/database.ts'
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

/** Ends when nothing is due any more, or `signal` says so. Returns how many were sent. */
export async function deliverDue(db: Database, means: Means, webhook: number, signal: AbortSignal): Promise<number> {
  const underWay = new Set<Promise<void>>()
  let finished: Finished[] = []
  let sent = 0
  const cut = new AbortController()
  const stop = () => setTimeout(() => cut.abort(), GRACE).unref()
  signal.addEventListener('abort', stop, { once: true })
  for (;;) {
    // What came to an end meanwhile is noted in the transaction that takes the next.
    const noted = finished
    finished = []
    const taken = await db.write((tx) => step(tx, db, webhook, noted, signal.aborted))
    for (const delivery of taken.deliveries) {
      const one = attempt(means, taken, delivery, cut.signal).then((outcome) => {
        finished.push({ delivery, outcome })
        underWay.delete(one)
      })
      underWay.add(one)
    }
    sent += noted.filter(({ outcome }) => outcome).length
    if (underWay.size === 0 && finished.length === 0) {
      signal.removeEventListener('abort', stop)
      return sent
    }
    if (underWay.size > 0 && finished.length === 0) await Promise.race(underWay)
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

async function take(tx: Queries, db: Database, webhook: number): Promise<Delivery[]> {
  const { deliveries: table } = db.tables
  const of = (status: string, due: SQL) => and(eq(table.webhook, webhook), eq(table.status, status), due)
  const due = lte(table.due_at, now())
  const [busy] = await tx
    .select({ count: count() })
    .from(table)
    .where(of('sending', gt(table.due_at, now())))
  const ids: number[] = []
  // Those that were lost first: there are few, and they are late.
  for (const status of ['sending', 'pending']) {
    const free = MAX_IN_FLIGHT - Number(busy?.count) - ids.length
    if (free <= 0) break
    const found = await tx.select({ id: table.id }).from(table).where(of(status, due)).orderBy(asc(table.due_at)).limit(free)
    ids.push(...found.map(({ id }) => id))
  }
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
  const values = outcome?.values ?? { status: 'pending', due_at: now() }
  await tx
    .update(table)
    .set({ ...values, updated_at: now(), version: sql`${table.version} + 1` })
    .where(and(eq(table.id, delivery.id), eq(table.status, 'sending'), eq(table.due_at, delivery.due_at as string)))
}

const now = () => new Date().toISOString()
