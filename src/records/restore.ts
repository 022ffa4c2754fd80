// Brings back a state that a record had, from the record of changes.

import { readHistory, readStateAt } from '../changelog/read.ts'
import type { Actor } from '../changelog/record.ts'
import { Problem } from '../errors.ts'
import { MAX_INTEGER } from '../query/fields.ts'
import type { Row } from '../query/rows.ts'
import type { Writing } from './constraints.ts'
import { changeHeld, type Expected, heldIfThere, reviveWithin, settable } from './write.ts'

/** How a client knows the record that it restores. */
export interface Conditions {
  /** Of one that is there. */
  expected: Expected
  /** Of one that was deleted. Throws where the client believes that it is there. */
  absent(): void
}

/**
 * Gives a record the state that it had at a version, as a new change; one that was deleted is made again. What the service derives is
 * derived anew. Where it is in that state, nothing is changed. Throws `not-found` where that state is not on record, and what a change
 * or a create throws: what had to hold then need not hold now.
 */
export async function restoreWithin(writing: Writing, id: number, version: number, by: Actor, conditions: Conditions): Promise<Row> {
  const { db, tx, resource } = writing
  const current = (await heldIfThere(writing, id)) ?? (await heldInTurn(writing, id))
  const state = (await readStateAt(tx, db, resource.table, id, version))?.state
  if (!state) throw new Problem('not-found', `No state of version ${version} of the ${resource.singular} ${id} is on record.`)
  const reason = `restored version ${version}`
  const values = settable(resource, state)
  if (current) {
    conditions.expected(current)
    return changeHeld(writing, current, values, by, reason)
  }
  conditions.absent()
  const [last] = await readHistory(tx, db, resource.table, id, MAX_INTEGER, 1)
  const revived = { id, version: (last?.version ?? version) + 1, created_at: state.created_at }
  return reviveWithin(writing, revived, values, by, reason)
}

/** What is not there cannot be held, so that those who make it again do so one after the other: the second finds it. */
async function heldInTurn(writing: Writing, id: number): Promise<Row | undefined> {
  const { db, tx, resource } = writing
  await db.dialect.lockNames(tx, [`restore ${resource.table} ${id}`])
  return heldIfThere(writing, id)
}
