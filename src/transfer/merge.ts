// The second half of an import: from the staged lines into the tables, inside one transaction.
import { and, eq, getTableColumns, isNull, type SQL, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Queries } from '../../drizzle/database.ts'
import { indexByIds } from '../../drizzle/search.ts'
import type { Actor } from '../changes.ts'
import { createWithin } from '../records.ts'
import { categories } from '../resources/categories.ts'
import { products } from '../resources/products.ts'
import { recordMerged } from './recorded.ts'

/** Bad lines that are named before the reading is given up. */
export const MAX_REFUSED = 20

export interface ImportResult {
  created: number
  updated: number
  unchanged: number
}

/** Nothing was imported. The message names each bad line, and says why. */
export class ImportRefused extends Error {}

export function refuse(lines: string[]): void {
  if (lines.length > 0) throw new ImportRefused(`Nothing was imported:\n${lines.map((line) => `  ${line}`).join('\n')}`)
}

/** The columns that a line sets as it is. The category is a path of names. */
export const FIELDS = [...products.writable.keys()].filter((field) => field !== 'category')
const REQUIRED = FIELDS.filter((field) => !('default' in (products.writable.get(field) ?? {})))

/** The value as its column stores it. What a line leaves out is null, which no field but the category can be given. */
export const bound = (column: SQLiteColumn | undefined, value: unknown) =>
  value === undefined || !column ? sql`null` : sql.param(value, column)

export const list = (parts: unknown[]) =>
  sql.join(
    parts.map((part) => sql`${part}`),
    sql`, `,
  )
export const tuple = (parts: unknown[]) => sql`(${list(parts)})`

export async function mergeStaged(db: Database, tx: Queries, count: number, by: Actor): Promise<ImportResult> {
  await refuseIncomplete(tx)
  await makeCategories(db, tx, by)
  const columns = getTableColumns(db.tables.products) as Record<string, SQLiteColumn>
  const now = sql.param(new Date().toISOString(), columns.updated_at)
  // In this order: what another transaction makes after the first statement is seen by the second.
  const created = await insertNew(tx, now, columns)
  await keepKnown(db, tx)
  const updated = await updateKnown(tx, now)
  await indexByIds(tx, products.served, [...updated, ...created])
  await recordMerged(db, tx, created, by)
  return { created: created.length, updated: updated.length, unchanged: count - created.length - updated.length }
}

const KNOWN = sql`exists (select 1 from products known where known.sku = staged.sku)`

async function refuseIncomplete(tx: Queries): Promise<void> {
  const missing = REQUIRED.map(
    (field) => sql`select line, ${field} as field from staged where ${sql.identifier(field)} is null and not ${KNOWN}`,
  )
  const lines = await tx.all<{ line: number; field: string }>(
    sql`select * from (${sql.join(missing, sql` union all `)}) missing order by line limit ${MAX_REFUSED}`,
  )
  refuse(lines.map(({ line, field }) => `line ${line}: ${field} is required for a new product`))
}

/** Makes what is missing of every path, and notes the id at its end. */
async function makeCategories(db: Database, tx: Queries, by: Actor): Promise<void> {
  await tx.run(sql`delete from staged_paths`)
  const ids = new Map<string, number>()
  const table = db.tables.categories
  for (const { path } of await tx.all<{ path: string }>(
    sql`select path from staged where path is not null group by path order by min(line)`,
  )) {
    const names = JSON.parse(path) as string[]
    let parent: number | null = null
    for (const [depth, name] of names.entries()) {
      const prefix = JSON.stringify(names.slice(0, depth + 1))
      const id: number =
        ids.get(prefix) ??
        (await findCategory(tx, table, parent, name)) ??
        (await createWithin(tx, db, categories, { name, parent }, by)).id
      ids.set(prefix, id)
      parent = id
    }
    await tx.run(sql`insert into staged_paths (path, id) values (${path}, ${parent})`)
  }
}

async function findCategory(
  tx: Queries,
  table: Database['tables']['categories'],
  parent: number | null,
  name: string,
): Promise<number | undefined> {
  const below = parent === null ? isNull(table.parent) : eq(table.parent, parent)
  const [found] = await tx
    .select({ id: table.id })
    .from(table)
    .where(and(below, eq(table.name, name)))
  return found?.id
}

const staged = (field: string) => sql`staged.${sql.identifier(field)}`
const current = (field: string) => sql`products.${sql.identifier(field)}`

/** Products in which a line differs. */
const DIFFERS = sql`staged left join staged_paths on staged_paths.path = staged.path where products.sku = staged.sku and (${sql.join(
  FIELDS.map((field) => sql`${staged(field)} <> ${current(field)}`),
  sql` or `,
)} or (staged.path is not null and products.category is distinct from staged_paths.id))`

/** Keeps what is about to be changed as it was, for the record. Nobody changes it meanwhile. */
async function keepKnown(db: Database, tx: Queries): Promise<void> {
  await tx.run(sql`delete from staged_before`)
  await tx.all(
    sql`select count(*) as count from (select id from products where sku in (select sku from staged)${db.dialect.forUpdate}) as held`,
  )
  await tx.run(sql`insert into staged_before select products.* from products, ${DIFFERS}`)
}

/** A product in which nothing differs is left alone, with its version. */
async function updateKnown(tx: Queries, now: unknown): Promise<number[]> {
  const values = FIELDS.map((field) => sql`${sql.identifier(field)} = coalesce(${staged(field)}, ${current(field)})`)
  return idsOf(
    tx,
    sql`update products set ${list(values)}, category = case when staged.path is null then products.category else staged_paths.id end,
      version = products.version + 1, updated_at = ${now}
    from ${DIFFERS}
    returning products.id as id`,
  )
}

/** In the order of the lines, so that ids follow it. */
function insertNew(tx: Queries, now: unknown, columns: Record<string, SQLiteColumn>): Promise<number[]> {
  const values = FIELDS.map((field) => {
    const fallback = products.writable.get(field)?.default
    const staged = sql`staged.${sql.identifier(field)}`
    return fallback === undefined || fallback === null ? staged : sql`coalesce(${staged}, ${bound(columns[field], fallback)})`
  })
  return idsOf(
    tx,
    sql`insert into products (${list(FIELDS.map((field) => sql.identifier(field)))}, category, created_at, updated_at, version)
    select ${list(values)}, staged_paths.id, ${now}, ${now}, 1 from staged left join staged_paths on staged_paths.path = staged.path
    where not ${KNOWN} order by staged.line returning id`,
  )
}

const idsOf = async (tx: Queries, query: SQL) => (await tx.all<{ id: number }>(query)).map(({ id }) => Number(id))
