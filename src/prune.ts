// Deletes the oldest rows of a table that is written to at its end, a few at a time.
import { setImmediate } from 'node:timers/promises'
import { and, gt, lt, lte } from 'drizzle-orm'
import type { Database } from '../drizzle/database.ts'

/** Rows that one transaction deletes: other writes wait for it, and where the database is in this process, so do requests. */
const AT_ONCE = 500

/**
 * Deletes what was written before a time, the oldest first and up to the first that is newer. Ends early where `signal` says so.
 * Returns how many there were.
 */
export async function pruneOld(db: Database, name: 'changes' | 'idempotency_keys', before: Date, signal?: AbortSignal): Promise<number> {
  const table = db.tables[name]
  const limit = before.toISOString()
  let pruned = 0
  for (let last = 0, more = true; more && !signal?.aborted; ) {
    const beyond = gt(table.id, last)
    const oldest = await db.read.select({ id: table.id, at: table.at }).from(table).where(beyond).orderBy(table.id).limit(AT_ONCE)
    const newer = oldest.findIndex(({ at }) => at >= limit)
    const old = newer === -1 ? oldest : oldest.slice(0, newer)
    more = old.length === AT_ONCE
    last = old.at(-1)?.id ?? last
    if (old.length > 0) await db.write((tx) => tx.delete(table).where(and(beyond, lte(table.id, last), lt(table.at, limit))))
    pruned += old.length
    // Where the database answers at once, nothing else would have its turn.
    if (more) await setImmediate()
  }
  return pruned
}
