// The record of changes: who did what, written in the transaction that did it.
import { isDeepStrictEqual } from 'node:util'
import type { Database, Queries } from '../../drizzle/database.ts'
import { buildInserter, toDriverValue } from '../../drizzle/rows.ts'
import type { Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'

/** Who writes: the id of the API key, and of the request. */
export interface Actor {
  key: number | null
  request: string | null
}

export const COMMAND_LINE: Actor = { key: null, request: null }

export type ChangeOperation = 'create' | 'update' | 'delete' | 'rotate'

/** What happened to one record. */
interface Change {
  operation: ChangeOperation
  record: number
  /** That of the record afterwards, or when it was deleted. */
  version: number
  /** The old value and the new one of each field that differs, as records show them; null where there was, or is, no record. */
  fields: Record<string, [old: unknown, current: unknown]>
  /** The record afterwards or, deleted, before. Whoever is told of the change is shown it. */
  state: Row | null
  /** Why, where it was said. */
  reason?: string
}

/** They say nothing that the rest of the entry does not. */
const UNRECORDED = ['id', 'version', 'updated_at']

const recordedFields = new WeakMap<Resource, readonly string[]>()

function listRecordedFields(resource: Resource): readonly string[] {
  const recorded = recordedFields.get(resource) ?? Object.keys(resource.contract).filter((field) => !UNRECORDED.includes(field))
  recordedFields.set(resource, recorded)
  return recorded
}

export const buildCreateChange = (resource: Resource, row: Row): Change => ({
  operation: 'create',
  record: row.id,
  version: Number(row.version),
  fields: Object.fromEntries(listRecordedFields(resource).map((field) => [field, [null, row[field]]])),
  state: row,
})

export const buildUpdateChange = (resource: Resource, before: Row, after: Row): Change => ({
  operation: 'update',
  record: after.id,
  version: Number(after.version),
  fields: Object.fromEntries(
    listRecordedFields(resource).flatMap((field) => (isSame(before[field], after[field]) ? [] : [[field, [before[field], after[field]]]])),
  ),
  state: after,
})

/** What is no plain value is another object each time that it is read. */
const isSame = (a: unknown, b: unknown) => a === b || (typeof a === 'object' && isDeepStrictEqual(a, b))

export const buildDeleteChange = (resource: Resource, row: Row): Change => ({
  operation: 'delete',
  record: row.id,
  version: Number(row.version),
  fields: Object.fromEntries(listRecordedFields(resource).map((field) => [field, [row[field], null]])),
  state: row,
})

const insert = buildInserter('changes', [
  'resource',
  'record_id',
  'operation',
  'version',
  'key_id',
  'request_id',
  'at',
  'fields',
  'reason',
  'state',
])

/** Only what a contract shows is recorded, so no secret is. */
export function recordChanges(tx: Queries, db: Database, resource: Resource, by: Actor, changes: readonly Change[]): Promise<void> {
  const at = toDriverValue(db.tables.changes.at, new Date().toISOString())
  const rows = changes.map(({ operation, record, version, fields, state, reason = null }) => [
    resource.table,
    record,
    operation,
    version,
    by.key,
    by.request,
    at,
    JSON.stringify(fields),
    reason,
    state && JSON.stringify(state),
  ])
  return insert(tx, rows)
}
