// Replays deliveries: the same messages, from the first attempt on. Also cancels deliveries, and prunes old ones.
import { and, eq, gt, gte, inArray, isNull, lt, notExists, type SQL, sql } from 'drizzle-orm'
import { BATCH, runInBatches } from '../../drizzle/batches.ts'
import type { Database, Queries } from '../../drizzle/database.ts'
import { Problem } from '../errors.ts'
import { buildWriteContext } from '../records/transaction.ts'
import { lockRecord, type Precondition } from '../records/write.ts'
import { deliveries } from '../resources/deliveries.ts'

const RESET = { status: 'pending', attempts: 0 }

/** Resets one finished delivery to its first attempt. Returns false if there is no finished delivery with this id. */
async function resetDelivery(tx: Queries, db: Database, id: number): Promise<boolean> {
  const { deliveries } = db.tables
  const at = new Date().toISOString()
  const rows = await tx
    .update(deliveries)
    .set({ ...RESET, due_at: at, updated_at: at, version: sql`${deliveries.version} + 1` })
    .where(and(eq(deliveries.id, id), isNull(deliveries.due_at)))
    .returning({ id: deliveries.id })
  return rows.length > 0
}

/** Replays a finished delivery, or makes a pending one due now. Throws `not-found`, and `webhook-disabled` if its webhook is disabled or deleted. */
export async function replayDelivery(tx: Queries, db: Database, id: number, expected?: Precondition): Promise<void> {
  const { webhooks, deliveries: table } = db.tables
  const { webhook } = await lockRecord(buildWriteContext(tx, db, deliveries), id, expected)
  const [receiver] = await tx
    .select({ enabled: webhooks.enabled })
    .from(webhooks)
    .where(eq(webhooks.id, Number(webhook)))
  if (!receiver?.enabled) throw new Problem('webhook-disabled', 'The webhook of this delivery is disabled or was deleted.')
  if (await resetDelivery(tx, db, id)) return
  const at = new Date().toISOString()
  await tx
    .update(table)
    .set({ due_at: at })
    .where(and(eq(table.id, id), eq(table.status, 'pending')))
}

/** Cancels the unfinished deliveries of a deleted webhook, and returns their number. Throws if `signal` aborts. */
export async function cancelDeliveries(db: Database, webhook: number, signal: AbortSignal): Promise<number> {
  const { deliveries: table } = db.tables
  const cancelled = { status: 'cancelled', due_at: null, updated_at: new Date().toISOString(), version: sql`${table.version} + 1` }
  return runInBatches(async () => {
    signal.throwIfAborted()
    const ids = await listIds(db, [eq(table.webhook, webhook), inArray(table.status, ['pending', 'sending'])])
    if (ids.length > 0) await db.write((tx) => tx.update(table).set(cancelled).where(inArray(table.id, ids)))
    return ids.length
  })
}

/**
 * Cancels deliveries of webhooks that no longer exist, and returns their number. A transaction that read a webhook before its deletion may
 * create a delivery after `cancelDeliveries` has run.
 */
export async function cancelOrphans(db: Database, signal: AbortSignal): Promise<number> {
  const { deliveries: table, webhooks } = db.tables
  const webhook = db.read.select({ id: webhooks.id }).from(webhooks).where(eq(webhooks.id, table.webhook))
  const orphans = await db.read
    .select({ webhook: table.webhook })
    .from(table)
    .where(and(inArray(table.status, ['pending', 'sending']), notExists(webhook)))
    .groupBy(table.webhook)
  let count = 0
  for (const { webhook } of orphans) count += await cancelDeliveries(db, webhook, signal)
  return count
}

interface ReplayRange {
  webhook: number
  /** Earliest creation of a delivery, inclusive. */
  since: string
  /** Latest creation of a delivery, exclusive. */
  until: string
  /** `failed`: failed and cancelled deliveries. `all`: delivered ones too. */
  only: 'failed' | 'all'
}

/** Replays the finished deliveries of a webhook in a range of time, and returns their number. Throws if `signal` aborts. */
export async function replayRange(db: Database, { webhook, since, until, only }: ReplayRange, signal: AbortSignal): Promise<number> {
  const { deliveries: table } = db.tables
  const statuses = only === 'failed' ? ['failed', 'cancelled'] : ['failed', 'cancelled', 'delivered']
  const chosen = [eq(table.webhook, webhook), gte(table.created_at, since), lt(table.created_at, until), inArray(table.status, statuses)]
  let count = 0
  let last = 0
  await runInBatches(async () => {
    signal.throwIfAborted()
    const ids = await listIds(db, [...chosen, gt(table.id, last)])
    await db.write(async (tx) => {
      for (const id of ids) if (await resetDelivery(tx, db, id)) count++
    })
    last = ids.at(-1) ?? last
    return ids.length
  })
  return count
}

async function listIds(db: Database, conditions: readonly SQL[]): Promise<number[]> {
  const { deliveries: table } = db.tables
  const rows = await db.read
    .select({ id: table.id })
    .from(table)
    .where(and(...conditions))
    .orderBy(table.id)
    .limit(BATCH)
  return rows.map(({ id }) => id)
}

/** Deletes deliveries created before a time, and returns their number. Stops early when `signal` aborts. */
export async function pruneDeliveries(db: Database, before: Date, signal?: AbortSignal): Promise<number> {
  const { deliveries: table } = db.tables
  return runInBatches(async () => {
    const ids = await listIds(db, [lt(table.created_at, before.toISOString())])
    if (ids.length > 0) await db.write((tx) => tx.delete(table).where(inArray(table.id, ids)))
    return ids.length
  }, signal)
}
