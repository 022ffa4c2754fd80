// Forgets the oldest entries of the change log, and remembers up to where.
import { inArray } from 'drizzle-orm'
import type { Database, Queries } from '../../drizzle/database.ts'
import { pruneOld } from '../../drizzle/prune.ts'
import type { ChangeOperation } from '../changelog/record.ts'
import { markPruned } from './positions.ts'

/**
 * Deletes what was recorded before a time, as `pruneOld` does. In the order in which it is read: of what comes after an entry that is
 * still there, nothing is missing then.
 */
export function pruneChanges(db: Database, before: Date, signal?: AbortSignal): Promise<number> {
  const { changes } = db.tables
  const { id, resource, record_id: record, operation, version, at } = changes
  const remove = async (tx: Queries, ids: number[]) => {
    const gone = await tx.delete(changes).where(inArray(id, ids)).returning({ id, resource, record, operation, version, at })
    // Where another process has forgotten it, it has remembered that too, and may be further by now.
    const last = gone.find((entry) => entry.id === ids.at(-1))
    if (last) await markPruned(tx, { ...last, operation: last.operation as ChangeOperation })
  }
  return pruneOld(db, 'changes', before, signal, { order: db.dialect.logOrder.ascending, remove })
}
