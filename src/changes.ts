// The record of changes: who did what, written in the transaction that did it.
import { sql } from 'drizzle-orm'
import type { Database, Queries } from '../drizzle/database.ts'
import { BATCH } from '../drizzle/search.ts'
import { placeholder } from '../drizzle/statement.ts'
import type { Resource } from './query/resource.ts'
import type { Row } from './query/rows.ts'

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

const fieldsOf = ({ contract }: Resource) => Object.keys(contract).filter((field) => !UNRECORDED.includes(field))

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

const COLUMNS = sql`resource, record_id, operation, version, key_id, request_id, at, fields`

const INSERT = sql`insert into changes (${COLUMNS}) values (${sql.join(
  Array.from({ length: 8 }, (_, place) => placeholder(place)),
  sql`, `,
)})`

/** Only what a contract shows is recorded, so no secret is. */
export async function recordChanges(tx: Queries, db: Database, resource: Resource, by: Actor, changes: readonly Change[]): Promise<void> {
  const at = db.tables.changes.at.mapToDriverValue(new Date().toISOString())
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
  const [only] = rows
  if (only && rows.length === 1) {
    await tx.prepared(INSERT, only)
    return
  }
  for (let start = 0; start < rows.length; start += BATCH) {
    const tuples = rows.slice(start, start + BATCH).map(
      (row) =>
        sql`(${sql.join(
          row.map((value) => sql`${value}`),
          sql`, `,
        )})`,
    )
    await tx.run(sql`insert into changes (${COLUMNS}) values ${sql.join(tuples, sql`, `)}`)
  }
}

/** Rows that one transaction deletes. */
const PRUNED = 1_000

/** Deletes what was recorded before a time, the oldest first and up to the first that is newer. Returns how many there were. */
export async function pruneChanges(db: Database, before: Date): Promise<number> {
  const { changes } = db.tables
  const limit = before.toISOString()
  for (let pruned = 0; ; ) {
    const oldest = await db.read.select({ id: changes.id, at: changes.at }).from(changes).orderBy(changes.id).limit(PRUNED)
    const newer = oldest.findIndex(({ at }) => at >= limit)
    const old = newer === -1 ? oldest : oldest.slice(0, newer)
    const last = old.at(-1)
    if (!last) return pruned
    await db.write((tx) => tx.run(sql`delete from changes where id <= ${last.id}`))
    pruned += old.length
    if (old.length < PRUNED) return pruned
  }
}
