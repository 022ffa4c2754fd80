// What has to hold between records: references, trees, unique values. It is checked inside the transaction, to say which record it is.
import { and, eq, getTableColumns, ne, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Queries, ServedTable } from '../drizzle/database.ts'
import { type Fault, invalid, Problem } from './errors.ts'
import type { Body, Resource } from './query/resource.ts'
import type { Row } from './query/rows.ts'
import { freeSlug, slugOf } from './slug.ts'
import { exists, sameAs, stored } from './statements.ts'

/** A transaction, and the resource whose table it writes. */
export interface Writing {
  db: Database
  tx: Queries
  resource: Resource
  table: ServedTable
}

/** Checks `values` against the other rows, and adds what is derived from them. `current` is the record that they change. */
export async function checked(writing: Writing, values: Body, current?: Row): Promise<Body> {
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

/** Throws `in-use` where records of `resources` refer to this one. */
export async function refuseUsed(writing: Writing, id: number, resources: readonly Resource[]): Promise<void> {
  const used: string[] = []
  for (const other of resources) {
    for (const reference of other.references) used.push(...(await usesOf(writing, other, reference, id)))
  }
  if (used.length > 0) throw new Problem('in-use', `The ${writing.resource.singular} ${id} is referred to by ${used.join(' and ')}.`)
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
