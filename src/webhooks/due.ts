// Finds out what webhooks are waiting for: one look, however many of them there are.
import { and, eq, exists, gt, inArray, lt, lte, notExists, sql } from 'drizzle-orm'
import type { Database } from '../../drizzle/database.ts'
import { readLog } from '../changelog/read.ts'
import { MAX_IN_FLIGHT } from './deliver.ts'
import { readOffset } from './dispatch.ts'

export interface DueWork {
  /** There is a webhook to look for. */
  isEnabled: boolean
  /** There is something in the change log that was not looked at yet. */
  dispatch: boolean
  /** The webhooks to which something is to be sent now. */
  deliver: number[]
}

export async function findDueWork(db: Database): Promise<DueWork> {
  const { webhooks, webhook_pauses: pauses, deliveries } = db.tables
  const [enabled] = await db.read.select({ id: webhooks.id }).from(webhooks).where(eq(webhooks.enabled, true)).limit(1)
  if (!enabled) return { isEnabled: false, dispatch: false, deliver: [] }
  const now = new Date().toISOString()
  const one = sql<number>`1`.as('one')
  const due = and(eq(deliveries.webhook, webhooks.id), inArray(deliveries.status, ['pending', 'sending']), lte(deliveries.due_at, now))
  const paused = and(eq(pauses.webhook, webhooks.id), gt(pauses.until, now))
  // Who has as many under way as there may be takes the next when one of them ends.
  const underWay = sql`(select count(*) from ${deliveries} where ${deliveries.webhook} = ${webhooks.id}
    and ${deliveries.status} = 'sending' and ${gt(deliveries.due_at, now)})`
  const waiting = await db.read
    .select({ id: webhooks.id })
    .from(webhooks)
    .where(
      and(
        eq(webhooks.enabled, true),
        exists(db.read.select({ one }).from(deliveries).where(due)),
        notExists(db.read.select({ one }).from(pauses).where(paused)),
        lt(underWay, MAX_IN_FLIGHT),
      ),
    )
  // Not whether it is the newest: where all was forgotten since, there is none.
  const unread = await readLog(db.read, db, await readOffset(db.read, db), 1)
  return { isEnabled: true, dispatch: unread.length > 0, deliver: waiting.map(({ id }) => id) }
}
