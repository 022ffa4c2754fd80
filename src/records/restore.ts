// Restores a state that a record had, from the change log.
import { readHistory, readStateAt } from '../changelog/read.ts'
import type { Actor } from '../changelog/record.ts'
import { Problem } from '../errors.ts'
import { MAX_INTEGER } from '../query/fields.ts'
import type { Row } from '../query/rows.ts'
import type { WriteContext } from './transaction.ts'
import { findAndLock, type Precondition, pickWritable, recreateRecord, updateLocked } from './write.ts'

/** The preconditions of a restore, for an existing and for a deleted record. */
export interface RestorePreconditions {
  /** Checks a record that exists. */
  present: Precondition
  /** Throws if the client expects the record to exist. Called if it was deleted. */
  deleted(): void
}

/**
 * Restores the state that a record had at a version, as a new change. Creates a deleted record again. Computes derived fields from the
 * restored values. A record in that state already does not change. Throws `not-found` if the change log lacks that state, and errors of
 * `updateLocked` and `recreateRecord`, because the restored values may violate constraints now.
 */
export async function restoreRecord(
  context: WriteContext,
  id: number,
  version: number,
  by: Actor,
  preconditions: RestorePreconditions,
): Promise<Row> {
  const { db, tx, resource } = context
  const current = (await findAndLock(context, id)) ?? (await lockDeleted(context, id))
  const state = (await readStateAt(tx, db, resource.table, id, version))?.state
  if (!state) throw new Problem('not-found', `The change log has no state of version ${version} of the ${resource.singular} ${id}.`)
  const reason = `restored version ${version}`
  const values = pickWritable(resource, state)
  if (current) {
    preconditions.present(current)
    return updateLocked(context, current, values, by, { reason })
  }
  preconditions.deleted()
  const [last] = await readHistory(tx, db, resource.table, id, MAX_INTEGER, 1)
  const former = { id, version: (last?.version ?? version) + 1, created_at: state.created_at }
  return recreateRecord(context, former, values, by, reason)
}

/** A deleted row cannot be locked, so an advisory lock serialises concurrent restores. The second one finds the row, and locks it. */
async function lockDeleted(context: WriteContext, id: number): Promise<Row | undefined> {
  const { db, tx, resource } = context
  await db.dialect.lockNames(tx, [`restore ${resource.table} ${id}`])
  return findAndLock(context, id)
}
