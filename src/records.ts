// Writing: create, replace, merge and remove a record. Each is one transaction.
import { and, eq, getTableColumns, ne, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Queries, ServedTable } from '../drizzle/database.ts'
import { index } from '../drizzle/search.ts'
import { type Actor, created, deleted, recordChanges, updated } from './changes.ts'
import { type Fault, invalid, Problem } from './errors.ts'
import { noRecord } from './query/list.ts'
import type { Body, Resource } from './query/resource.ts'
import { columnsOf, type Row, shownOf } from './query/rows.ts'
import { freeSlug, slugOf } from './slug.ts'
import { exists, insertOf, sameAs, stored } from './statements.ts'

/** A transaction, and the resource whose table it writes. */
export interface Writing {
  db: Database
  tx: Queries
  resource: Resource
  table: ServedTable
}

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
export const replace = (db: Database, resource: Resource, id: number, body: Body, by: Actor): Promise<Row> =>
  change(db, resource, id, { ...defaultsOf(resource), ...settable(resource, body) }, by)

/** PATCH (RFC 7396): what the body leaves out stays. Throws as `replace` does. */
export const merge = (db: Database, resource: Resource, id: number, body: Body, by: Actor): Promise<Row> =>
  change(db, resource, id, settable(resource, body), by)

/** Sets fields that a body may not set, too. A change that changes nothing leaves the version and `updated_at` as they are. */
export function change(db: Database, resource: Resource, id: number, values: Body, by: Actor): Promise<Row> {
  return write(db, resource, async (writing) => {
    const { tx, table } = writing
    const current = await held(writing, id)
    const columns = getTableColumns(table) as Record<string, SQLiteColumn>
    const changes = Object.fromEntries(Object.entries(values).filter(([field, value]) => !sameValue(columns[field], value, current[field])))
    if (Object.keys(changes).length === 0) return current
    const row = { ...(await checked(writing, changes, current)), updated_at: new Date().toISOString(), version: sql`${table.version} + 1` }
    const [made] = await tx.update(table).set(row).where(eq(table.id, id)).returning(columnsOf(db, resource))
    await recordChanges(tx, db, resource, by, [updated(resource, current, made as Row)])
    return indexed(writing, made as Row)
  })
}

/** The record, which no other transaction changes until this one ends. Throws `not-found`. */
export async function held({ db, tx, resource, table }: Writing, id: number): Promise<Row> {
  await db.dialect.lock(tx, table, id)
  const { byId, toRow } = shownOf(db, resource)
  const [raw] = await tx.prepared(byId, [id])
  if (!raw) throw noRecord(resource, id)
  return toRow(raw)
}

/** Throws `not-found`, and `in-use` where records of `resources` refer to this one. */
export function remove(db: Database, resource: Resource, id: number, resources: readonly Resource[], by: Actor): Promise<void> {
  return write(db, resource, async (writing) => {
    const { tx, table } = writing
    const current = await held(writing, id)
    const used: string[] = []
    for (const other of resources) {
      for (const reference of other.references) used.push(...(await usesOf(writing, other, reference, id)))
    }
    if (used.length > 0) throw new Problem('in-use', `The ${resource.singular} ${id} is referred to by ${used.join(' and ')}.`)
    await tx.delete(table).where(eq(table.id, id))
    await recordChanges(tx, db, resource, by, [deleted(resource, current)])
  })
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

const settable = ({ writable }: Resource, body: Body): Body =>
  Object.fromEntries(Object.entries(body).filter(([field]) => writable.has(field)))

/** Equal as the database stores them: a body may say 29.9 where the record says 29.90. */
const sameValue = (column: SQLiteColumn | undefined, a: unknown, b: unknown) => stored(column, a) === stored(column, b)

/** Checks `values` against the other rows, and adds what is derived from them. `current` is the record that they change. */
async function checked(writing: Writing, values: Body, current?: Row): Promise<Body> {
  const { db, tx, resource } = writing
  const faults: Fault[] = []
  for (const { field, target } of resource.references) {
    const id = values[field]
    if (typeof id === 'number' && !(await exists(tx, db.tables[target], id)))
      faults.push({ pointer: `/${field}`, detail: `no row of ${target} has the id ${id}` })
  }
  if (faults.length > 0) throw invalid(faults)
  if (current) await refuseCycle(writing, values, current)
  const complete = { ...values, ...(await derived(writing, values, current)) }
  await refuseTaken(writing, complete, current)
  return complete
}

/** A record must not come to stand below itself. The tree is held, so that two moves cannot make a circle between them. */
async function refuseCycle({ db, tx, resource, table }: Writing, values: Body, current: Row): Promise<void> {
  for (const { field, target } of resource.references) {
    const parent = values[field]
    if (target !== resource.table || typeof parent !== 'number') continue
    await db.dialect.lock(tx, table)
    const column = sql.identifier(field)
    const [above] = await tx.all<{ id: number }>(sql`
      with recursive above (id) as (select id from ${table} where id = ${parent} union select higher.${column} from ${table} higher join above on higher.id = above.id)
      select id from above where id = ${current.id}`)
    if (above)
      throw new Problem('cycle', `The ${resource.singular} ${current.id} would be below itself.`, {
        faults: [{ pointer: `/${field}`, detail: `${parent} is ${current.id} or below it` }],
      })
  }
}

async function derived({ db, tx, resource: { slug, singular }, table }: Writing, values: Body, current?: Row): Promise<Body> {
  if (!slug || !(slug.from in values)) return {}
  // Two that ask at the same time would be told that the same one is free.
  await db.dialect.lock(tx, table)
  const column = (getTableColumns(table) as Record<string, SQLiteColumn>)[slug.field] as SQLiteColumn
  const others = current ? ne(table.id, current.id) : undefined
  const taken = async (text: string) =>
    (
      await tx
        .select({ id: table.id })
        .from(table)
        .where(and(eq(column, text), others))
        .limit(1)
    ).length > 0
  return { [slug.field]: await freeSlug(slugOf(String(values[slug.from])) || singular, taken) }
}

/** Throws `not-unique`, naming each field whose value another record has. */
async function refuseTaken({ tx, resource, table }: Writing, values: Body, current?: Row): Promise<void> {
  const columns = getTableColumns(table) as Record<string, SQLiteColumn>
  const row: Body = { ...current, ...values }
  const faults: Fault[] = []
  for (const fields of resource.unique) {
    if (!fields.some((field) => field in values) || (fields.length === 1 && row[fields[0] as string] === null)) continue
    const given = fields.map((field): [SQLiteColumn, unknown] => [columns[field] as SQLiteColumn, row[field]])
    const [[other] = []] = await tx.prepared(sameAs(table, given), [
      current?.id ?? 0,
      ...given.map(([column, value]) => stored(column, value)),
    ])
    if (other !== undefined)
      faults.push({ pointer: `/${fields.at(-1)}`, detail: `the ${resource.singular} ${other} has the same ${fields.join(' and ')}` })
  }
  if (faults.length > 0) throw new Problem('not-unique', `Another ${resource.singular} has this value.`, { faults })
}

/** How many records of `other` refer to the record by this field, in words; nothing where none does. */
async function usesOf(
  { db, tx, resource }: Writing,
  other: Resource,
  { field, target }: Resource['references'][number],
  id: number,
): Promise<string[]> {
  if (target !== resource.table) return []
  const [row] = await tx.all<{ count: number }>(
    sql`select count(*) as count from ${db.tables[other.table]} where ${sql.identifier(field)} = ${id}`,
  )
  const count = Number(row?.count)
  return count === 0 ? [] : [`${count} ${count === 1 ? other.singular : other.table}`]
}

/** Keeps the search text of a record beside it. */
async function indexed({ tx, resource: { served } }: Writing, row: Row): Promise<Row> {
  await index(tx, served, [row])
  return row
}
