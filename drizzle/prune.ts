// Deletes the oldest rows of a table that is written to at its end, a few at a time.
import { inArray, type SQL, sql } from 'drizzle-orm'
import { BATCH, runInBatches } from './batches.ts'
import type { Database, Queries } from './database.ts'

export interface PruneOptions {
  /** For `order by`; otherwise the order of the ids. */
  order?: SQL
  /** Deletes the rows with these ids, which another process may have done before, and what else belongs into that transaction. */
  remove?: (tx: Queries, ids: number[]) => Promise<unknown>
}

/**
 * Deletes what was written before a time, the oldest first and up to the first that is newer. Ends early where `signal` says so.
 * Returns how many there were.
 */
export async function pruneOld(
  db: Database,
  name: 'changes' | 'idempotency_keys',
  before: Date,
  signal?: AbortSignal,
  options: PruneOptions = {},
): Promise<number> {
  const table = db.tables[name]
  const { order = sql`id`, remove = (tx, ids) => tx.delete(table).where(inArray(table.id, ids)) } = options
  const limit = before.toISOString()
  return runInBatches(async () => {
    const oldest = await db.read.select({ id: table.id, at: table.at }).from(table).orderBy(order).limit(BATCH)
    const newer = oldest.findIndex(({ at }) => at >= limit)
    const old = (newer === -1 ? oldest : oldest.slice(0, newer)).map(({ id }) => id)
    if (old.length > 0) await db.write((tx) => remove(tx, old))
    return old.length
  }, signal)
}
