// Writes the change log, in the transaction of the change.
import { isDeepStrictEqual } from 'node:util'
import type { Database, Queries } from '../../drizzle/database.ts'
import { buildInserter, toDriverValue } from '../../drizzle/rows.ts'
import type { Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'

/** The API key and the request that make a change, by id. */
export interface Actor {
  key: number | null
  request: string | null
}

export const COMMAND_LINE: Actor = { key: null, request: null }

export type ChangeOperation = 'create' | 'update' | 'delete' | 'rotate'

/** A change of one record. */
interface Change {
  operation: ChangeOperation
  record: number
  /** Version of the record after the change, or before its deletion. */
  version: number
  /** Old and new value of each field that differs, as records show them. Null stands for a record that does not exist. */
  fields: Record<string, [old: unknown, current: unknown]>
  /** The record after the change, or before its deletion. The feed and webhooks show it. */
  state: Row | null
  /** Reason that the client gave. */
  reason?: string
}

/** Fields that are redundant in an entry. */
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

/** JSON columns are parsed anew on every read, so they are compared deeply. */
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

/** Writes changes to the log. They contain only fields of the contract, so never a secret. */
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
