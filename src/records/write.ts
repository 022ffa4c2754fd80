// Writing: create, replace, merge and remove a record. Each is one transaction.
import { isDeepStrictEqual } from 'node:util'
import { eq, sql } from 'drizzle-orm'
import { type Column, columnsByName, type Database, type Queries } from '../../drizzle/database.ts'
import { toDriverValue } from '../../drizzle/rows.ts'
import { indexRows } from '../../drizzle/search.ts'
import { type Actor, created, deleted, recordChanges, updated } from '../changelog/record.ts'
import type { Fault } from '../errors.ts'
import { noRecord } from '../query/list.ts'
import type { Body, Resource } from '../query/resource.ts'
import { columnsOf, type Row, shownOf } from '../query/rows.ts'
import { type Conflict, checked, findConflicts, refuseUsed, type Writing } from './constraints.ts'
import { insertOf } from './insert.ts'
import { mergeInto } from './merge.ts'

/** Makes a record. Throws `invalid-request` for a reference to nothing and `not-unique` for a value that is taken. */
export const create = (db: Database, resource: Resource, body: Body, by: Actor): Promise<Row> =>
  retried(db, () => db.write((tx) => createWithin(tx, db, resource, body, by)))

/** The same as part of a transaction, which has to run again as a whole where another one was faster. */
export async function createWithin(tx: Queries, db: Database, resource: Resource, body: Body, by: Actor): Promise<Row> {
  const writing: Writing = { db, tx, resource, table: db.tables[resource.table] }
  const values = await checked(writing, completed(resource, body))
  const now = new Date().toISOString()
  const row: Body = { ...values, created_at: now, updated_at: now, version: 1 }
  const { insert, inserted } = insertOf(db, resource)
  const [made] = await tx.runPrepared(
    insert,
    inserted.map(([field, column]) => toDriverValue(column, row[field])),
  )
  const record = shownOf(db, resource).toRow(made as unknown[])
  await recordChanges(tx, db, resource, by, [created(resource, record)])
  return indexed(writing, record)
}

/** PUT: what the body leaves out returns to its default. Throws as `create` does, and `not-found`. */
export const replace = (db: Database, resource: Resource, id: number, body: Body, by: Actor, expected?: Expected): Promise<Row> =>
  write(db, resource, async (writing) => updateLocked(writing, await held(writing, id, expected), completed(resource, body), by))

/** PATCH (RFC 7396): what the body leaves out stays. Throws as `replace` does. */
export const merge = (db: Database, resource: Resource, id: number, body: Body, by: Actor, expected?: Expected): Promise<Row> =>
  write(db, resource, (writing) => mergeWithin(writing, id, body, by, expected))

/** PATCH as part of a transaction. */
export async function mergeWithin(writing: Writing, id: number, body: Body, by: Actor, expected?: Expected): Promise<Row> {
  const current = await held(writing, id, expected)
  const { values, conflicts } = mergeInto(writing.resource, settable(writing.resource, body), current)
  return updateLocked(writing, current, values, by, { conflicts })
}

/**
 * Changes a record that this transaction has locked. A change that changes nothing leaves the version and `updated_at` as they are.
 * `reason` is put on record.
 */
export const changeHeld = (writing: Writing, current: Row, values: Body, by: Actor, reason?: string): Promise<Row> =>
  updateLocked(writing, current, values, by, reason === undefined ? {} : { reason })

interface UpdateOptions {
  reason?: string
  /** Faults of `values` that were found before. */
  conflicts?: readonly Conflict[]
}

async function updateLocked(writing: Writing, current: Row, values: Body, by: Actor, options: UpdateOptions = {}): Promise<Row> {
  const { reason, conflicts = [] } = options
  const { db, tx, resource, table } = writing
  const columns = columnsByName(table)
  const changes = Object.fromEntries(Object.entries(values).filter(([field, value]) => !sameValue(columns[field], value, current[field])))
  if (Object.keys(changes).length === 0 && conflicts.length === 0) return current
  const row = {
    ...(await checked(writing, changes, current, conflicts)),
    updated_at: new Date().toISOString(),
    version: sql`${table.version} + 1`,
  }
  const [made] = await tx.update(table).set(row).where(eq(table.id, current.id)).returning(columnsOf(db, resource))
  await recordChanges(tx, db, resource, by, [{ ...updated(resource, current, made as Row), ...(reason !== undefined && { reason }) }])
  // To index a long text anew takes longer than all the rest.
  const isIndexed = resource.served.foldedFields.every((field) => current[field] === (made as Row)[field])
  return isIndexed ? (made as Row) : indexed(writing, made as Row)
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
export async function heldIfThere(writing: Writing, id: number): Promise<Row | undefined> {
  await writing.db.dialect.lock(writing.tx, writing.table, id)
  return findRow(writing, id)
}

export async function findRow({ db, tx, resource }: Writing, id: number): Promise<Row | undefined> {
  const { byId, toRow } = shownOf(db, resource)
  const [raw] = await tx.runPrepared(byId, [id])
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
): Promise<void> =>
  write(db, resource, async (writing) => {
    await removeWithin(writing, id, resources, by, expected)
  })

/** The same as part of a transaction. Returns the record as it was. */
export async function removeWithin(
  writing: Writing,
  id: number,
  resources: readonly Resource[],
  by: Actor,
  expected?: Expected,
): Promise<Row> {
  const { db, tx, resource, table } = writing
  const current = await held(writing, id, expected)
  await refuseUsed(writing, id, resources)
  await tx.delete(table).where(eq(table.id, id))
  await recordChanges(tx, db, resource, by, [deleted(resource, current)])
  return current
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
      const failure = db.classifyFailure(error)
      if (attempt === ATTEMPTS || (failure !== 'unique' && failure !== 'reference')) throw error
    }
  }
}

const defaultsOf = ({ writable }: Resource): Body =>
  Object.fromEntries([...writable].flatMap(([field, schema]) => ('default' in schema ? [[field, schema.default]] : [])))

/** The members that a body may set. */
export const settable = ({ writable }: Resource, body: Body): Body =>
  Object.fromEntries(Object.entries(body).filter(([field]) => writable.has(field)))

/** What a body sets where it leaves out nothing: members that are left out have their defaults. */
const completed = (resource: Resource, body: Body): Body => ({ ...defaultsOf(resource), ...settable(resource, body) })

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/** Equal as the database stores them: a body may say 29.9 where the record says 29.90. The order of the members of JSON does not count. */
function sameValue(column: Column | undefined, a: unknown, b: unknown): boolean {
  const [one, other] = [toDriverValue(column, a), toDriverValue(column, b)]
  return one === other || (isObject(a) && isObject(b) && isDeepStrictEqual(JSON.parse(String(one)), JSON.parse(String(other))))
}

/** How the members of a body become those of a record. */
export type WriteMode = 'create' | 'replace' | 'merge'

/**
 * Finds the faults of a body that only the database can tell, where it has others already, in the members `faulty`. `current` is the
 * record that it would change.
 */
export async function findFurtherFaults(
  writing: Writing,
  mode: WriteMode,
  body: Body,
  faulty: ReadonlySet<string>,
  current?: Row,
): Promise<Fault[]> {
  const { resource } = writing
  if (mode !== 'create' && !current) return []
  const sound = Object.fromEntries(Object.entries(settable(resource, body)).filter(([field]) => !faulty.has(field)))
  const { values, conflicts } =
    mode === 'merge' && current ? mergeInto(resource, sound, current) : { values: { ...defaultsOf(resource), ...sound }, conflicts: [] }
  return [...conflicts, ...(await findConflicts(writing, values, current, faulty))].map(({ fault }) => fault)
}

/** Keeps the search text of a record beside it. */
async function indexed({ tx, resource: { served } }: Writing, row: Row): Promise<Row> {
  await indexRows(tx, served, [row])
  return row
}
