// SQL that inserts and finds rows of any table. Each statement is compiled once: building it takes longer than running it.
import { type SQL, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Queries } from './database.ts'
import { memoize } from './memoize.ts'
import type { ServedTable } from './served.ts'
import { placeholder } from './statement.ts'

/** Encodes a value as its column stores it. Returns NULL, and values without a column, unchanged. */
export const toDriverValue = (column: SQLiteColumn | undefined, value: unknown) =>
  value === null || !column ? value : column.mapToDriverValue(value)

/** Builds rows of placeholders: `($0, $1), ($2, $3)`. `format` writes one placeholder; `place` is its column. */
export function buildTuples(rows: number, width: number, format = (value: SQL, _place: number): SQL => value): SQL {
  const row = (number: number) => Array.from({ length: width }, (_, place) => format(placeholder(number * width + place), place))
  return sql.join(
    Array.from({ length: rows }, (_, number) => sql`(${sql.join(row(number), sql`, `)})`),
    sql`, `,
  )
}

/** Rows of the larger of the two statements of `buildInserter`. */
const ROWS_PER_INSERT = 100

/**
 * Returns a function that inserts rows, each with the driver's value for every column. It uses two statements, one for many rows and one
 * for a single row, so that both stay prepared. `onConflict` is the `on conflict` clause.
 */
export function buildInserter(
  table: string,
  columns: readonly string[],
  onConflict = sql``,
): (tx: Queries, rows: readonly unknown[][]) => Promise<void> {
  const names = columns.map((column) => sql.identifier(column))
  const build = (count: number) =>
    sql`insert into ${sql.identifier(table)} (${sql.join(names, sql`, `)}) values ${buildTuples(count, columns.length)}${onConflict}`
  const [one, many] = [build(1), build(ROWS_PER_INSERT)]
  return async (tx, rows) => {
    const whole = rows.length - (rows.length % ROWS_PER_INSERT)
    for (let start = 0; start < whole; start += ROWS_PER_INSERT)
      await tx.runPrepared(many, rows.slice(start, start + ROWS_PER_INSERT).flat())
    for (const row of rows.slice(whole)) await tx.runPrepared(one, row)
  }
}

const getIdQuery = memoize((table: ServedTable) => sql`select 1 from ${table} where ${table.id} = ${placeholder(0)}`)

/** Returns whether the table has a row with the id. */
export async function hasRow(tx: Queries, table: ServedTable, id: number): Promise<boolean> {
  return (await tx.runPrepared(getIdQuery(table), [id])).length > 0
}

const getDuplicateQueries = memoize((_table: ServedTable) => new Map<string, SQL>())

/** Builds the query for the id of another row with these values. Bind the id of the row itself first, then the values. */
export function buildDuplicateQuery(table: ServedTable, values: readonly [SQLiteColumn, unknown][]): SQL {
  const queries = getDuplicateQueries(table)
  const key = values.map(([{ name }, value]) => `${name}${value === null ? ' null' : ''}`).join()
  let query = queries.get(key)
  if (!query) {
    const equal = values.map(([column, value], index) =>
      value === null ? sql`${column} is null` : sql`${column} = ${placeholder(index + 1)}`,
    )
    query = sql`select ${table.id} from ${table} where ${sql.join(equal, sql` and `)} and ${table.id} <> ${placeholder(0)} limit 1`
    queries.set(key, query)
  }
  return query
}
