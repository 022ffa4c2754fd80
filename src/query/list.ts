// Reading: a page of a list with the number of all that match, and one record.
import { and, eq, getTableColumns, getTableName, type SQL, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Queries, ServedTable } from '../../drizzle/database.ts'
import { Problem } from '../errors.ts'
import type { Value } from './lookups.ts'
import { DEFAULT_PAGE_SIZE, type ListQuery, type OrderTerm } from './params.ts'
import type { Resource } from './resource.ts'

export type Row = Record<string, unknown> & { id: number }

export interface Page {
  count: number
  /** The number of this page, and of the last. */
  page: number
  pages: number
  rows: Row[]
}

/** Reads a page. Throws `page-not-found` for one past the end; the first is there even where no row is. */
export function list(db: Database, resource: Resource, query: ListQuery): Promise<Page> {
  const size = query.page_size ?? DEFAULT_PAGE_SIZE
  const where = whereOf(db, resource, query)
  // Rows that are written between the count and the page would make the answer contradict itself.
  return db.snapshot(async (read) => {
    const count = await countRows(read, db.tables[resource.table], where)
    const pages = Math.max(1, Math.ceil(count / size))
    const page = query.page === 'last' ? pages : (query.page ?? 1)
    if (page > pages) throw new Problem('page-not-found', `There ${pages === 1 ? 'is 1 page' : `are ${pages} pages`} of ${size}.`)
    const rows = count === 0 ? [] : await readRows(db, resource, { read, where, ordering: query.ordering, size, offset: (page - 1) * size })
    return { count, page, pages, rows }
  })
}

/** Reads one record. Throws `not-found`. */
export async function read(db: Database, resource: Resource, id: number): Promise<Row> {
  const table: ServedTable = db.tables[resource.table]
  const [row] = await db.read.select(columnsOf(db, resource)).from(table).where(eq(table.id, id))
  if (!row) throw noRecord(resource, id)
  return row as Row
}

export const noRecord = ({ singular }: Resource, id: number) => new Problem('not-found', `There is no ${singular} with the id ${id}.`)

function whereOf(db: Database, { table, list: { filters }, search }: Resource, query: ListQuery): SQL | undefined {
  const filtered = Object.entries(query).map(([name, values]) => filters.get(name)?.where(db, values as readonly Value[]))
  const found = query.search?.terms.map((term) => db.dialect.contains(table, db.tables[table].id, search, term)) ?? []
  return and(...filtered, ...found)
}

/** Counting every row would take time; the database keeps their number. */
async function countRows(read: Queries, table: ServedTable, where: SQL | undefined): Promise<number> {
  const [row] = where
    ? await read.all<{ count: number }>(sql`select count(*) as count from ${table} where ${where}`)
    : await read.all<{ count: number }>(sql`select sum(row_count) as count from stockroom_counters where name = ${getTableName(table)}`)
  return Number(row?.count)
}

interface Rows {
  read: Queries
  where: SQL | undefined
  ordering: readonly OrderTerm[] | undefined
  size: number
  offset: number
}

async function readRows(
  db: Database,
  resource: Resource,
  { read, where, ordering = resource.list.defaultOrder, size, offset }: Rows,
): Promise<Row[]> {
  const columns = columnsOf(db, resource)
  const order = withId(ordering).map(({ field, descending }) => orderBy(columns[field] as SQLiteColumn, descending))
  const table: ServedTable = db.tables[resource.table]
  return (await read
    .select(columns)
    .from(table)
    .where(where)
    .orderBy(...order)
    .limit(size)
    .offset(offset)) as Row[]
}

/** The columns that the contract shows, by field. */
export function columnsOf(db: Database, { table, contract }: Resource): Record<string, SQLiteColumn> {
  const columns = getTableColumns(db.tables[table]) as Record<string, SQLiteColumn>
  return Object.fromEntries(
    Object.keys(contract).map((field) => {
      const column = columns[field]
      if (!column) throw new TypeError(`${table} has no column ${field}`)
      return [field, column]
    }),
  )
}

/** Without a last key that is unique, rows that are equal in the others may change places between two pages. */
function withId(ordering: readonly OrderTerm[]): readonly OrderTerm[] {
  if (ordering.some(({ field }) => field === 'id')) return ordering
  return [...ordering, { field: 'id', descending: ordering.at(-1)?.descending ?? false }]
}

/** NULLs first, and last when descending, said only where there can be any: PostgreSQL's indexes on other columns do not know of it. */
function orderBy(column: SQLiteColumn, descending: boolean): SQL {
  if (column.notNull || column.primary) return descending ? sql`${column} desc` : sql`${column} asc`
  return descending ? sql`${column} desc nulls last` : sql`${column} asc nulls first`
}
