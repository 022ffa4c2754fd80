// Finds the work that webhooks wait for, with three queries for any number of webhooks.
import { and, eq, exists, gt, inArray, lt, lte, notExists, sql } from 'drizzle-orm'
import type { Database } from '../../drizzle/database.ts'
import { readEntries } from '../changelog/read.ts'
import { MAX_IN_FLIGHT } from './deliver.ts'
import { readOffset } from './dispatch.ts'

interface DueWork {
  /** Whether any webhook is enabled. */
  isEnabled: boolean
  /** Whether the change log has entries that are not dispatched yet. */
  hasUnreadChanges: boolean
  /** Ids of webhooks with due deliveries. */
  dueWebhooks: number[]
}

export async function findDueWork(db: Database): Promise<DueWork> {
  const { webhooks, webhook_pauses: pauses, deliveries } = db.tables
  const [enabled] = await db.read.select({ id: webhooks.id }).from(webhooks).where(eq(webhooks.enabled, true)).limit(1)
  if (!enabled) return { isEnabled: false, hasUnreadChanges: false, dueWebhooks: [] }
  const now = new Date().toISOString()
  const one = sql<number>`1`.as('one')
  const due = and(eq(deliveries.webhook, webhooks.id), inArray(deliveries.status, ['pending', 'sending']), lte(deliveries.due_at, now))
  const paused = and(eq(pauses.webhook, webhooks.id), gt(pauses.until, now))
  // Webhooks at their concurrency limit are skipped; they continue when a delivery finishes.
  const inFlight = sql`(select count(*) from ${deliveries} where ${deliveries.webhook} = ${webhooks.id}
    and ${deliveries.status} = 'sending' and ${gt(deliveries.due_at, now)})`
  const waiting = await db.read
    .select({ id: webhooks.id })
    .from(webhooks)
    .where(
      and(
        eq(webhooks.enabled, true),
        exists(db.read.select({ one }).from(deliveries).where(due)),
        notExists(db.read.select({ one }).from(pauses).where(paused)),
        lt(inFlight, MAX_IN_FLIGHT),
      ),
    )
  // A comparison with the newest id would not do: after pruning, the log may be empty.
  const unread = await readEntries(db.read, db, await readOffset(db.read, db), 1)
  return { isEnabled: true, hasUnreadChanges: unread.length > 0, dueWebhooks: waiting.map(({ id }) => id) }
}
