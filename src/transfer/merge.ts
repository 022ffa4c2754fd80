// The second half of an import: from the staged lines into the tables, inside one transaction.
import { and, eq, getTableColumns, isNull, type SQL, type SQLChunk, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Queries } from '../../drizzle/database.ts'
import type { Actor } from '../changes.ts'
import { createWithin } from '../records.ts'
import { categories } from '../resources/categories.ts'
import { products } from '../resources/products.ts'
import { recordCreated, recordUpdated } from './recorded.ts'

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

const list = (parts: SQLChunk[]) => sql.join(parts, sql`, `)

export async function mergeStaged(db: Database, tx: Queries, count: number, by: Actor): Promise<ImportResult> {
  await refuseIncomplete(tx)
  await makeCategories(db, tx, by)
  const columns = getTableColumns(db.tables.products) as Record<string, SQLiteColumn>
  const now = sql.param(new Date().toISOString(), columns.updated_at)
  // In this order: what another transaction makes after the first statement is seen by the second.
  const created = await insertNew(tx, now, columns)
  await keepKnown(db, tx)
  await updateKnown(tx, now)
  await recordCreated(db, tx, created, by)
  const updated = await recordUpdated(db, tx, by)
  return { created: created.length, updated, unchanged: count - created.length - updated }
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

/** Of the category that a line names; null for the path without names. */
const CATEGORY = sql`(select staged_paths.id from staged_paths where staged_paths.path = staged.path)`

/** A product in which nothing differs is left alone, with its version. The others are kept as they are, for the record, and nobody changes them meanwhile. */
async function keepKnown(db: Database, tx: Queries): Promise<void> {
  const differs = FIELDS.map((field) => sql`${staged(field)} <> ${current(field)}`)
  await tx.run(sql`delete from staged_before`)
  await tx.run(sql`insert into staged_before select products.* from products join staged on products.sku = staged.sku
    where ${sql.join(differs, sql` or `)} or (staged.path is not null and products.category is distinct from ${CATEGORY})${db.dialect.forUpdate}`)
}

/** Only what was kept: another may have come to differ since. */
async function updateKnown(tx: Queries, now: unknown): Promise<void> {
  const values = FIELDS.map((field) => sql`${sql.identifier(field)} = coalesce(${staged(field)}, ${current(field)})`)
  await tx.run(
    sql`update products set ${list(values)}, category = case when staged.path is null then products.category else ${CATEGORY} end,
      version = products.version + 1, updated_at = ${now}
    from staged_before join staged on staged.sku = staged_before.sku
    where products.id = staged_before.id`,
  )
}

/** In the order of the lines, so that ids follow it. */
function insertNew(tx: Queries, now: unknown, columns: Record<string, SQLiteColumn>): Promise<number[]> {
  const values = FIELDS.map((field) => {
    const fallback = products.writable.get(field)?.default
    const staged = sql`staged.${sql.identifier(field)}`
    return fallback === undefined || fallback === null ? staged : sql`coalesce(${staged}, ${sql.param(fallback, columns[field])})`
  })
  return idsOf(
    tx,
    sql`insert into products (${list(FIELDS.map((field) => sql.identifier(field)))}, category, created_at, updated_at, version)
    select ${list(values)}, staged_paths.id, ${now}, ${now}, 1 from staged left join staged_paths on staged_paths.path = staged.path
    where not ${KNOWN} order by staged.line returning id`,
  )
}

const idsOf = async (tx: Queries, query: SQL) => (await tx.all<{ id: number }>(query)).map(({ id }) => Number(id))
