// Deletes the oldest rows of an append-only table, in batches.
import { inArray, type SQL, sql } from 'drizzle-orm'
import { BATCH, runInBatches } from './batches.ts'
import type { Database, Queries } from './database.ts'

interface PruneOptions {
  /** Keys of `order by`. Default: `id`. */
  order?: SQL
  /** Deletes the rows with these ids, and does other work of that transaction. Another process may have deleted the rows already. */
  remove?: (tx: Queries, ids: number[]) => Promise<unknown>
}

/**
 * Deletes rows older than `before`, oldest first, and stops at the first newer row or when `signal` aborts. Returns the number of deleted
 * rows.
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
