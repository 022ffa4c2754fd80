// The statements of a write that are compiled once: building them takes longer than to run them.
import { type SQL, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Queries } from '../../drizzle/database.ts'
import { perDatabase } from '../../drizzle/per-database.ts'
import type { ServedTable } from '../../drizzle/served.ts'
import { placeholder } from '../../drizzle/statement.ts'
import type { Resource } from '../query/resource.ts'
import { columnsOf } from '../query/rows.ts'

/** A value as its column stores it. */
export const stored = (column: SQLiteColumn | undefined, value: unknown) =>
  value === null || !column ? value : column.mapToDriverValue(value)

interface Insert {
  insert: SQL
  /** The fields whose values it takes, in this order. */
  inserted: readonly [string, SQLiteColumn][]
}

/** Fields that the service sets itself on every record. */
export const STAMPS = ['created_at', 'updated_at', 'version']

/** The statement that makes a record. */
export const insertOf = perDatabase((db, resource: Resource): Insert => {
  const columns = Object.entries(columnsOf(db, resource))
  const inserted = columns.filter(([field]) => resource.writable.has(field) || field === resource.slug?.field || STAMPS.includes(field))
  const names = inserted.map(([, column]) => sql.identifier(column.name))
  const values = inserted.map((_, index) => placeholder(index))
  const shown = columns.map(([, column]) => column)
  const insert = sql`insert into ${db.tables[resource.table]} (${sql.join(names, sql`, `)}) values (${sql.join(values, sql`, `)}) returning ${sql.join(shown, sql`, `)}`
  return { insert, inserted }
})

/** `($0, $1), ($2, $3)`: so many rows of placeholders, each written as `written` says. */
export function tuples(rows: number, width: number, written = (value: SQL, _place: number): SQL => value): SQL {
  const row = (number: number) => Array.from({ length: width }, (_, place) => written(placeholder(number * width + place), place))
  return sql.join(
    Array.from({ length: rows }, (_, number) => sql`(${sql.join(row(number), sql`, `)})`),
    sql`, `,
  )
}

/** Rows that one statement inserts where there are many. */
const MANY = 100

/**
 * Returns a function that inserts rows, each with a value for each column, as the database stores it. It does so by two statements, for
 * many rows and for one, so that both are compiled once and stay prepared. `otherwise` says what is done where a row is there.
 */
export function inserter(
  table: string,
  columns: readonly string[],
  otherwise = sql``,
): (tx: Queries, rows: readonly unknown[][]) => Promise<void> {
  const names = columns.map((column) => sql.identifier(column))
  const insertOf = (count: number) =>
    sql`insert into ${sql.identifier(table)} (${sql.join(names, sql`, `)}) values ${tuples(count, columns.length)}${otherwise}`
  const [one, many] = [insertOf(1), insertOf(MANY)]
  return async (tx, rows) => {
    const whole = rows.length - (rows.length % MANY)
    for (let start = 0; start < whole; start += MANY) await tx.prepared(many, rows.slice(start, start + MANY).flat())
    for (const row of rows.slice(whole)) await tx.prepared(one, row)
  }
}

const ids = new WeakMap<ServedTable, SQL>()

/** Whether the table has a row with the id. */
export async function exists(tx: Queries, table: ServedTable, id: number): Promise<boolean> {
  const byId = ids.get(table) ?? sql`select 1 from ${table} where ${table.id} = ${placeholder(0)}`
  ids.set(table, byId)
  return (await tx.prepared(byId, [id])).length > 0
}

const searches = new WeakMap<ServedTable, Map<string, SQL>>()

/** Finds the row with these values, but for the one whose id is the first value to bind. */
export function sameAs(table: ServedTable, given: readonly [SQLiteColumn, unknown][]): SQL {
  const ofTable = searches.get(table) ?? new Map<string, SQL>()
  const key = given.map(([{ name }, value]) => `${name}${value === null ? ' null' : ''}`).join()
  const same = given.map(([column, value], index) => (value === null ? sql`${column} is null` : sql`${column} = ${placeholder(index + 1)}`))
  const search =
    ofTable.get(key) ??
    sql`select ${table.id} from ${table} where ${sql.join(same, sql` and `)} and ${table.id} <> ${placeholder(0)} limit 1`
  searches.set(table, ofTable.set(key, search))
  return search
}
