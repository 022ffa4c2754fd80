// Creates, replaces, merges and deletes records. Each function is a step of a transaction.
import { isDeepStrictEqual } from 'node:util'
import { eq, sql } from 'drizzle-orm'
import { type Column, columnsByName } from '../../drizzle/database.ts'
import { toDriverValue } from '../../drizzle/rows.ts'
import { indexRows } from '../../drizzle/search.ts'
import { type Actor, buildCreateChange, buildDeleteChange, buildUpdateChange, recordChanges } from '../changelog/record.ts'
import type { Fault } from '../errors.ts'
import { buildNotFound } from '../query/list.ts'
import type { Body, Resource } from '../query/resource.ts'
import { getColumnsByField, getProjection, type Row } from '../query/rows.ts'
import { type Conflict, enforceConstraints, findConflicts, refuseIfReferenced } from './constraints.ts'
import { compileInsert } from './insert.ts'
import { mergeInto } from './merge.ts'
import type { WriteContext } from './transaction.ts'

/** Creates a record. Throws `invalid-request` for a reference to no record, and `not-unique` for a value that another record has. */
export async function createRecord(context: WriteContext, body: Body, by: Actor): Promise<Row> {
  const { db, tx, resource } = context
  const values = await enforceConstraints(context, withDefaults(resource, body))
  const now = new Date().toISOString()
  const row: Body = { ...values, created_at: now, updated_at: now, version: 1 }
  const { insert, columns: inserted } = compileInsert(db, resource)
  const [raw] = await tx.runPrepared(
    insert,
    inserted.map(([field, column]) => toDriverValue(column, row[field])),
  )
  const record = getProjection(db, resource).toRow(raw as unknown[])
  await recordChanges(tx, db, resource, by, [buildCreateChange(resource, record)])
  await indexRecord(context, record)
  return record
}

/** PUT: a member that the body leaves out returns to its default. Throws as `createRecord` and `lockRecord` do. */
export async function replaceRecord(context: WriteContext, id: number, body: Body, by: Actor, precondition?: Precondition): Promise<Row> {
  return updateLocked(context, await lockRecord(context, id, precondition), withDefaults(context.resource, body), by)
}

/** PATCH (RFC 7396): a member that the body leaves out stays. Throws as `createRecord` and `lockRecord` do. */
export async function mergeRecord(context: WriteContext, id: number, body: Body, by: Actor, precondition?: Precondition): Promise<Row> {
  const current = await lockRecord(context, id, precondition)
  const { values, conflicts } = mergeInto(context.resource, pickWritable(context.resource, body), current)
  return updateLocked(context, current, values, by, { conflicts })
}

interface UpdateOptions {
  /** Reason of the change, for the change log. */
  reason?: string
  /** Faults of `values` that were found before. */
  conflicts?: readonly Conflict[]
}

/**
 * Updates a record that this transaction has locked; `current` is the record as it was read then. An update that changes no value
 * leaves `version` and `updated_at` as they are.
 */
export async function updateLocked(
  context: WriteContext,
  current: Row,
  values: Body,
  by: Actor,
  { reason, conflicts = [] }: UpdateOptions = {},
): Promise<Row> {
  const { db, tx, resource, table } = context
  const columns = columnsByName(table)
  const changes = Object.fromEntries(Object.entries(values).filter(([field, value]) => !isSameValue(columns[field], value, current[field])))
  if (Object.keys(changes).length === 0 && conflicts.length === 0) return current
  const row = {
    ...(await enforceConstraints(context, changes, current, conflicts)),
    updated_at: new Date().toISOString(),
    version: sql`${table.version} + 1`,
  }
  const [returned] = await tx.update(table).set(row).where(eq(table.id, current.id)).returning(getColumnsByField(db, resource))
  const record = returned as Row
  await recordChanges(tx, db, resource, by, [{ ...buildUpdateChange(resource, current, record), ...(reason !== undefined && { reason }) }])
  // Indexing a long text takes longer than everything else here.
  if (resource.served.foldedFields.some((field) => current[field] !== record[field])) await indexRecord(context, record)
  return record
}

/** Throws if a record is not in the state that the client expects. */
export type Precondition = (current: Row) => void

/** Locks a record until the transaction ends, and reads it. Throws `not-found` and errors of `precondition`. */
export async function lockRecord(context: WriteContext, id: number, precondition?: Precondition): Promise<Row> {
  const row = await findAndLock(context, id)
  if (!row) throw buildNotFound(context.resource, id)
  precondition?.(row)
  return row
}

/** Locks a record until the transaction ends, and reads it. Returns undefined, without a lock, if the record does not exist. */
export async function findAndLock(context: WriteContext, id: number): Promise<Row | undefined> {
  await context.db.dialect.lock(context.tx, context.table, id)
  return findRow(context, id)
}

/** Reads a record without a lock. Returns undefined where it does not exist. */
export async function findRow({ db, tx, resource }: WriteContext, id: number): Promise<Row | undefined> {
  const { selectById: byId, toRow } = getProjection(db, resource)
  const [raw] = await tx.runPrepared(byId, [id])
  return raw && toRow(raw)
}

/** Values of a deleted record that it keeps when it is created again. */
interface FormerRecord {
  id: number
  /** Version of the new row. It is higher than the last one, so that versions of an id never repeat. */
  version: number
  created_at: unknown
}

/** Creates a deleted record again, with its former id. Throws as `createRecord` does. `reason` goes into the change log. */
export async function recreateRecord(context: WriteContext, former: FormerRecord, body: Body, by: Actor, reason: string): Promise<Row> {
  const { db, tx, resource, table } = context
  const values = await enforceConstraints(context, { ...listDefaults(resource), ...body })
  const row = { ...values, ...former, updated_at: new Date().toISOString() }
  const [returned] = await tx
    .insert(table)
    .values(row as (typeof table)['$inferInsert'])
    .returning(getColumnsByField(db, resource))
  const record = returned as Row
  await recordChanges(tx, db, resource, by, [{ ...buildCreateChange(resource, record), reason }])
  await indexRecord(context, record)
  return record
}

/** Deletes a record, and returns it as it was. Throws as `lockRecord` does, and `in-use` where records of `resources` refer to it. */
export async function removeRecord(
  context: WriteContext,
  id: number,
  resources: readonly Resource[],
  by: Actor,
  precondition?: Precondition,
): Promise<Row> {
  const { db, tx, resource, table } = context
  const current = await lockRecord(context, id, precondition)
  await refuseIfReferenced(context, id, resources)
  await tx.delete(table).where(eq(table.id, id))
  await recordChanges(tx, db, resource, by, [buildDeleteChange(resource, current)])
  return current
}

const listDefaults = ({ writable }: Resource): Body =>
  Object.fromEntries([...writable].flatMap(([field, schema]) => ('default' in schema ? [[field, schema.default]] : [])))

/** Picks the members that a body can set. */
export const pickWritable = ({ writable }: Resource, body: Body): Body =>
  Object.fromEntries(Object.entries(body).filter(([field]) => writable.has(field)))

const withDefaults = (resource: Resource, body: Body): Body => ({ ...listDefaults(resource), ...pickWritable(resource, body) })

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/** Compares two values as the column stores them: 29.9 equals 29.90. The order of members in JSON does not count. */
function isSameValue(column: Column | undefined, a: unknown, b: unknown): boolean {
  const [left, right] = [toDriverValue(column, a), toDriverValue(column, b)]
  return left === right || (isObject(a) && isObject(b) && isDeepStrictEqual(JSON.parse(String(left)), JSON.parse(String(right))))
}

/** Effect of a body on a record: POST creates, PUT replaces, PATCH merges. */
export type WriteMode = 'create' | 'replace' | 'merge'

/**
 * Finds the faults of a body that need the database. Skips the members in `faulty`, which have faults already. `current`
 * is the record that the body would change.
 */
export async function findFurtherFaults(
  context: WriteContext,
  mode: WriteMode,
  body: Body,
  faulty: ReadonlySet<string>,
  current?: Row,
): Promise<Fault[]> {
  const { resource } = context
  if (mode !== 'create' && !current) return []
  const sound = Object.fromEntries(Object.entries(pickWritable(resource, body)).filter(([field]) => !faulty.has(field)))
  const { values, conflicts } =
    mode === 'merge' && current ? mergeInto(resource, sound, current) : { values: { ...listDefaults(resource), ...sound }, conflicts: [] }
  return [...conflicts, ...(await findConflicts(context, values, current, faulty))].map(({ fault }) => fault)
}

/** Stores the search text of a record. */
const indexRecord = ({ tx, resource: { served } }: WriteContext, record: Row): Promise<void> => indexRows(tx, served, [record])
