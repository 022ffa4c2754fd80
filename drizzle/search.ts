// Search tables: each served table has one, with the folded text of the searchable fields of every row.
import { type SQL, type SQLChunk, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import { BATCH } from './batches.ts'
import type { Database, Dialect, Queries, ServedResource } from './database.ts'
import { fold } from './fold.ts'
import { memoize } from './memoize.ts'
import type { Clause } from './selection.ts'
import { placeholder } from './statement.ts'

export const nameSearchTable = (table: string) => `${table}_search`

/** Columns of search tables, beside the fields: those of PostgreSQL's, and of SQLite's FTS5. */
export const SEARCH_COLUMNS = ['grams', 'rank', 'rowid']

/** Maximum characters of a prefixed field. 255 characters always fit into PostgreSQL's limit of 2,704 bytes per index entry. */
export const MAX_PREFIXED_LENGTH = 255

/** A row with the fields to fold. */
type SearchRow = { id: number } & Record<string, unknown>

/** Writes the search text of new or changed rows. */
export async function indexRows(tx: Queries, served: ServedResource, rows: readonly SearchRow[]): Promise<void> {
  if (served.foldedFields.length === 0) return
  const [only] = rows
  if (only && rows.length === 1) {
    await tx.runPrepared(getSingleUpsert(served), [only.id, ...served.foldedFields.map((field) => foldValue(only[field]))])
    return
  }
  for (let start = 0; start < rows.length; start += BATCH) {
    const values = rows
      .slice(start, start + BATCH)
      .map((row) => sql`(${joinCommas([sql`${row.id}`, ...served.foldedFields.map((field) => sql`${foldValue(row[field])}`)])})`)
    await tx.run(buildUpsert(served, joinCommas(values)))
  }
}

const buildUpsert = (served: ServedResource, values: SQL): SQL =>
  sql`insert into ${identifySearchTable(served.table)} (${listColumns(served)}) values ${values}
    on conflict (id) do update set ${joinCommas(served.foldedFields.map((field) => sql`${sql.identifier(field)} = excluded.${sql.identifier(field)}`))}`

const getSingleUpsert = memoize((served: ServedResource) =>
  buildUpsert(served, sql`(${joinCommas(['id', ...served.foldedFields].map((_, index) => placeholder(index)))})`),
)

/**
 * Writes the search text of every row in the order of the ids. `write` runs a transaction for each batch, so that other writers run in
 * between. A batch locks its rows, so that it does not overwrite concurrent changes. Returns the number of rows.
 */
export async function reindex(write: Database['write'], { forUpdate }: Dialect, served: ServedResource): Promise<number> {
  let count = 0
  for (let last: number | undefined = 0; last !== undefined; ) {
    const after: number = last
    const rows = await write(async (tx) => {
      const batch = await tx.all<SearchRow>(
        sql`select ${listColumns(served)} from ${sql.identifier(served.table)} where id > ${after} order by id limit ${BATCH}${forUpdate}`,
      )
      await indexRows(tx, served, batch)
      return batch
    })
    count += rows.length
    last = rows.length === 0 ? undefined : Number(rows.at(-1)?.id)
  }
  return count
}

/** Builds the clause that `field` equals `term`, ignoring case. */
export const matchText = (table: string, id: SQLiteColumn, field: string, term: string): Clause =>
  buildIndexClause(table, id, [fold(term)], (term) => sql`${sql.identifier(field)} = ${term}`, true)

/** Builds the clause that `field` begins with `term`, ignoring case: a range of the field's index. */
export function matchPrefix(table: string, id: SQLiteColumn, field: string, term: string): Clause {
  const column = sql.identifier(field)
  const start = fold(term)
  const end = computeSuccessor(start)
  if (end === undefined) return { ...buildIndexClause(table, id, [start], (start) => sql`${column} >= ${start}`), variant: 'last' }
  return buildIndexClause(table, id, [start, end], (start, end) => sql`${column} >= ${start} and ${column} < ${end}`)
}

/** Builds a clause on the search table. */
const buildIndexClause = (
  table: string,
  id: SQLiteColumn,
  values: string[],
  where: (...values: SQL[]) => SQL,
  isOrderedById = false,
): Clause => ({
  values,
  isOrderedById,
  isDefinite: true,
  lookUp: (...values) => sql`(select ${where(...values)} from ${identifySearchTable(table)} folded where folded.id = ${id})`,
  check: (...values) => sql`exists (select 1 from ${identifySearchTable(table)} folded where folded.id = ${id} and ${where(...values)})`,
  selectIds: (guard, ...values) => sql`select id from ${identifySearchTable(table)} where ${where(...values)} and ${guard(sql`id`)}`,
})

const LAST_CODE_POINT = 0x10ffff
const BEFORE_SURROGATES = 0xd7ff
const AFTER_SURROGATES = 0xe000

/** Computes the first text, by code point, after all texts that begin with `prefix`. Returns undefined if there is none. */
function computeSuccessor(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) as number)
  while (points.at(-1) === LAST_CODE_POINT) points.pop()
  const last = points.pop()
  if (last === undefined) return undefined
  return String.fromCodePoint(...points, last === BEFORE_SURROGATES ? AFTER_SURROGATES : last + 1)
}

const identifySearchTable = (table: string) => sql.identifier(nameSearchTable(table))
const listColumns = ({ foldedFields }: ServedResource) => joinCommas(['id', ...foldedFields].map((column) => sql.identifier(column)))
const joinCommas = (parts: SQLChunk[]) => sql.join(parts, sql`, `)
const foldValue = (value: unknown) => (typeof value === 'string' ? fold(value) : null)
