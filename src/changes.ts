// The record of changes: who did what, written in the transaction that did it.
import { setImmediate } from 'node:timers/promises'
import { and, gt, lt, lte } from 'drizzle-orm'
import type { Database, Queries } from '../drizzle/database.ts'
import type { Resource } from './query/resource.ts'
import type { Row } from './query/rows.ts'
import { inserter, stored } from './statements.ts'

/** Who writes: the id of the API key, and of the request. */
export interface Actor {
  key: number | null
  request: string | null
}

export const COMMAND_LINE: Actor = { key: null, request: null }

export type Operation = 'create' | 'update' | 'delete' | 'rotate'

/** What happened to one record. */
export interface Change {
  operation: Operation
  record: number
  /** That of the record afterwards, or when it was deleted. */
  version: number
  /** The old value and the new one of each field that differs, as records show them; null where there was, or is, no record. */
  fields: Record<string, [old: unknown, current: unknown]>
}

/** They say nothing that the rest of the entry does not. */
const UNRECORDED = ['id', 'version', 'updated_at']

const recordedFields = new WeakMap<Resource, readonly string[]>()

function fieldsOf(resource: Resource): readonly string[] {
  const recorded = recordedFields.get(resource) ?? Object.keys(resource.contract).filter((field) => !UNRECORDED.includes(field))
  recordedFields.set(resource, recorded)
  return recorded
}

export const created = (resource: Resource, row: Row): Change => ({
  operation: 'create',
  record: row.id,
  version: Number(row.version),
  fields: Object.fromEntries(fieldsOf(resource).map((field) => [field, [null, row[field]]])),
})

export const updated = (resource: Resource, before: Row, after: Row): Change => ({
  operation: 'update',
  record: after.id,
  version: Number(after.version),
  fields: Object.fromEntries(
    fieldsOf(resource).flatMap((field) => (before[field] === after[field] ? [] : [[field, [before[field], after[field]]]])),
  ),
})

export const deleted = (resource: Resource, row: Row): Change => ({
  operation: 'delete',
  record: row.id,
  version: Number(row.version),
  fields: Object.fromEntries(fieldsOf(resource).map((field) => [field, [row[field], null]])),
})

const insert = inserter('changes', ['resource', 'record_id', 'operation', 'version', 'key_id', 'request_id', 'at', 'fields'])

/** Only what a contract shows is recorded, so no secret is. */
export function recordChanges(tx: Queries, db: Database, resource: Resource, by: Actor, changes: readonly Change[]): Promise<void> {
  const at = stored(db.tables.changes.at, new Date().toISOString())
  const rows = changes.map(({ operation, record, version, fields }) => [
    resource.table,
    record,
    operation,
    version,
    by.key,
    by.request,
    at,
    JSON.stringify(fields),
  ])
  return insert(tx, rows)
}

/** Rows that one transaction deletes: other writes wait for it, and where the database is in this process, so do requests. */
const PRUNED = 500

/**
 * Deletes what was recorded before a time, the oldest first and up to the first that is newer. Ends early where `signal` says so.
 * Returns how many there were.
 */
export async function pruneChanges(db: Database, before: Date, signal?: AbortSignal): Promise<number> {
  const { changes } = db.tables
  const limit = before.toISOString()
  let pruned = 0
  for (let last = 0, more = true; more && !signal?.aborted; ) {
    const beyond = gt(changes.id, last)
    const oldest = await db.read.select({ id: changes.id, at: changes.at }).from(changes).where(beyond).orderBy(changes.id).limit(PRUNED)
    const newer = oldest.findIndex(({ at }) => at >= limit)
    const old = newer === -1 ? oldest : oldest.slice(0, newer)
    more = old.length === PRUNED
    last = old.at(-1)?.id ?? last
    if (old.length > 0) await db.write((tx) => tx.delete(changes).where(and(beyond, lte(changes.id, last), lt(changes.at, limit))))
    pruned += old.length
    // Where the database answers at once, nothing else would have its turn.
    if (more) await setImmediate()
  }
  return pruned
}
