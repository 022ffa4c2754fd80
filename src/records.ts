// Writing: create, replace, merge and remove a record. Each is one transaction.
import { eq, getTableColumns, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Queries } from '../drizzle/database.ts'
import { index } from '../drizzle/search.ts'
import { type Actor, created, deleted, recordChanges, updated } from './changes.ts'
import { checked, refuseUsed, type Writing } from './constraints.ts'
import { noRecord } from './query/list.ts'
import type { Body, Resource } from './query/resource.ts'
import { columnsOf, type Row, shownOf } from './query/rows.ts'
import { insertOf, stored } from './statements.ts'

/** Makes a record. Throws `invalid-request` for a reference to nothing and `not-unique` for a value that is taken. */
export const create = (db: Database, resource: Resource, body: Body, by: Actor): Promise<Row> =>
  retried(db, () => db.write((tx) => createWithin(tx, db, resource, body, by)))

/** The same as part of a transaction, which has to run again as a whole where another one was faster. */
export async function createWithin(tx: Queries, db: Database, resource: Resource, body: Body, by: Actor): Promise<Row> {
  const writing: Writing = { db, tx, resource, table: db.tables[resource.table] }
  const values = await checked(writing, { ...defaultsOf(resource), ...settable(resource, body) })
  const now = new Date().toISOString()
  const row: Body = { ...values, created_at: now, updated_at: now, version: 1 }
  const { insert, inserted } = insertOf(db, resource)
  const [made] = await tx.prepared(
    insert,
    inserted.map(([field, column]) => stored(column, row[field])),
  )
  const record = shownOf(db, resource).toRow(made as unknown[])
  await recordChanges(tx, db, resource, by, [created(resource, record)])
  return indexed(writing, record)
}

/** PUT: what the body leaves out returns to its default. Throws as `create` does, and `not-found`. */
export const replace = (db: Database, resource: Resource, id: number, body: Body, by: Actor, expected?: Expected): Promise<Row> =>
  change(db, resource, id, { ...defaultsOf(resource), ...settable(resource, body) }, by, expected)

/** PATCH (RFC 7396): what the body leaves out stays. Throws as `replace` does. */
export const merge = (db: Database, resource: Resource, id: number, body: Body, by: Actor, expected?: Expected): Promise<Row> =>
  change(db, resource, id, settable(resource, body), by, expected)

/** Sets fields that a body may not set, too. A change that changes nothing leaves the version and `updated_at` as they are. */
const change = (db: Database, resource: Resource, id: number, values: Body, by: Actor, expected?: Expected): Promise<Row> =>
  write(db, resource, async (writing) => changeHeld(writing, await held(writing, id, expected), values, by))

/** PATCH as part of a transaction. */
export async function mergeWithin(writing: Writing, id: number, body: Body, by: Actor, expected?: Expected): Promise<Row> {
  return changeHeld(writing, await held(writing, id, expected), settable(writing.resource, body), by)
}

/** Changes a record that this transaction holds. `reason` is put on record. */
export async function changeHeld(writing: Writing, current: Row, values: Body, by: Actor, reason?: string): Promise<Row> {
  const { db, tx, resource, table } = writing
  const columns = getTableColumns(table) as Record<string, SQLiteColumn>
  const changes = Object.fromEntries(Object.entries(values).filter(([field, value]) => !sameValue(columns[field], value, current[field])))
  if (Object.keys(changes).length === 0) return current
  const row = { ...(await checked(writing, changes, current)), updated_at: new Date().toISOString(), version: sql`${table.version} + 1` }
  const [made] = await tx.update(table).set(row).where(eq(table.id, current.id)).returning(columnsOf(db, resource))
  await recordChanges(tx, db, resource, by, [{ ...updated(resource, current, made as Row), ...(reason !== undefined && { reason }) }])
  return indexed(writing, made as Row)
}

/** Throws where a record is not as the client expects it to be. */
export type Expected = (current: Row) => void

/** The record, which no other transaction changes until this one ends. Throws `not-found`, and what `expected` throws. */
export async function held(writing: Writing, id: number, expected?: Expected): Promise<Row> {
  const row = await heldIfThere(writing, id)
  if (!row) throw noRecord(writing.resource, id)
  expected?.(row)
  return row
}

/** The same; undefined where there is none, which holds nothing. */
export async function heldIfThere({ db, tx, resource, table }: Writing, id: number): Promise<Row | undefined> {
  await db.dialect.lock(tx, table, id)
  const { byId, toRow } = shownOf(db, resource)
  const [raw] = await tx.prepared(byId, [id])
  return raw && toRow(raw)
}

/** What a record has that was deleted and is there again. */
export interface Revived {
  id: number
  /** That of before, so that it goes on growing. */
  version: number
  created_at: unknown
}

/** Makes a record again under the id that it had. Throws as `create` does. `reason` is put on record. */
export async function reviveWithin(writing: Writing, as: Revived, body: Body, by: Actor, reason: string): Promise<Row> {
  const { db, tx, resource, table } = writing
  const values = await checked(writing, { ...defaultsOf(resource), ...body })
  const row = { ...values, ...as, updated_at: new Date().toISOString() }
  const [made] = await tx
    .insert(table)
    .values(row as (typeof table)['$inferInsert'])
    .returning(columnsOf(db, resource))
  await recordChanges(tx, db, resource, by, [{ ...created(resource, made as Row), reason }])
  return indexed(writing, made as Row)
}

/** Throws `not-found`, and `in-use` where records of `resources` refer to this one. */
export const remove = (
  db: Database,
  resource: Resource,
  id: number,
  resources: readonly Resource[],
  by: Actor,
  expected?: Expected,
): Promise<void> => write(db, resource, (writing) => removeWithin(writing, id, resources, by, expected))

/** The same as part of a transaction. */
export async function removeWithin(
  writing: Writing,
  id: number,
  resources: readonly Resource[],
  by: Actor,
  expected?: Expected,
): Promise<void> {
  const { db, tx, resource, table } = writing
  const current = await held(writing, id, expected)
  await refuseUsed(writing, id, resources)
  await tx.delete(table).where(eq(table.id, id))
  await recordChanges(tx, db, resource, by, [deleted(resource, current)])
}

/** Another transaction may take a value, or delete a row, between the check and the write. The second try then finds it and can say so. */
const ATTEMPTS = 3

const write = <T>(db: Database, resource: Resource, work: (writing: Writing) => Promise<T>): Promise<T> =>
  retried(db, () => db.write((tx) => work({ db, tx, resource, table: db.tables[resource.table] })))

export async function retried<T>(db: Database, transaction: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction()
    } catch (error) {
      const failure = db.failure(error)
      if (attempt === ATTEMPTS || (failure !== 'unique' && failure !== 'reference')) throw error
    }
  }
}

const defaultsOf = ({ writable }: Resource): Body =>
  Object.fromEntries([...writable].flatMap(([field, schema]) => ('default' in schema ? [[field, schema.default]] : [])))

/** The members that a body may set. */
export const settable = ({ writable }: Resource, body: Body): Body =>
  Object.fromEntries(Object.entries(body).filter(([field]) => writable.has(field)))

/** Equal as the database stores them: a body may say 29.9 where the record says 29.90. */
const sameValue = (column: SQLiteColumn | undefined, a: unknown, b: unknown) => stored(column, a) === stored(column, b)

/** Keeps the search text of a record beside it. */
async function indexed({ tx, resource: { served } }: Writing, row: Row): Promise<Row> {
  await index(tx, served, [row])
  return row
}
