// Prunes the change log, and records up to where.
import { inArray } from 'drizzle-orm'
import type { Database, Queries } from '../../drizzle/database.ts'
import { pruneOld } from '../../drizzle/prune.ts'
import type { ChangeOperation } from '../changelog/record.ts'
import { markPruned } from './positions.ts'

/**
 * Deletes entries recorded before a time, in batches. Returns their number. Deletes in reading order, so that no entry is missing after an
 * existing one.
 */
export function pruneChanges(db: Database, before: Date, signal?: AbortSignal): Promise<number> {
  const { changes } = db.tables
  const { id, resource, record_id: record, operation, version, at } = changes
  const remove = async (tx: Queries, ids: number[]) => {
    const deleted = await tx.delete(changes).where(inArray(id, ids)).returning({ id, resource, record, operation, version, at })
    // If another process has deleted the last entry, it has recorded that too, and may be further ahead.
    const last = deleted.find((entry) => entry.id === ids.at(-1))
    if (last) await markPruned(tx, { ...last, operation: last.operation as ChangeOperation })
  }
  return pruneOld(db, 'changes', before, signal, { order: db.dialect.logOrder.ascending, remove })
}
