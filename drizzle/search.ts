// The search tables: beside each served table one that holds, per row, the folded text of its searchable fields.
import { type SQL, type SQLChunk, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Dialect, Queries, Served } from './database.ts'
import { fold } from './fold.ts'

export const searchTable = (table: string) => `${table}_search`

/** Rows handled by one statement where all of a table is read or written: bounds memory and, on SQLite, the parameters of a statement. */
export const BATCH = 500

/** A row with its folded fields still unfolded. */
export type SearchRow = { id: number } & Record<string, unknown>

/** Writes the search text of `rows`, new or changed. */
export async function index(tx: Queries, served: Served, rows: readonly SearchRow[]): Promise<void> {
  if (served.folded.length === 0) return
  for (let start = 0; start < rows.length; start += BATCH) {
    const values = rows
      .slice(start, start + BATCH)
      .map((row) => sql`(${commas([sql`${row.id}`, ...served.folded.map((field) => folded(row[field]))])})`)
    await tx.run(sql`insert into ${name(served.table)} (${columnsOf(served)}) values ${commas(values)}
      on conflict (id) do update set ${commas(served.folded.map((field) => sql`${sql.identifier(field)} = excluded.${sql.identifier(field)}`))}`)
  }
}

/** Writes the search text of the rows with these ids. */
export async function indexByIds(tx: Queries, served: Served, ids: readonly number[]): Promise<void> {
  for (let start = 0; start < ids.length; start += BATCH) {
    const some = commas(ids.slice(start, start + BATCH).map((id) => sql`${id}`))
    await index(
      tx,
      served,
      await tx.all<SearchRow>(sql`select ${columnsOf(served)} from ${sql.identifier(served.table)} where id in (${some})`),
    )
  }
}

/**
 * Writes the search text of every row, by key, each batch inside a transaction that `write` runs: others write between two of
 * them, and none of what they write is undone. Returns how many rows there were.
 */
export async function reindex(write: Database['write'], { forUpdate }: Dialect, served: Served): Promise<number> {
  let done = 0
  for (let last: number | undefined = 0; last !== undefined; ) {
    const after: number = last
    const rows = await write(async (tx) => {
      const batch = await tx.all<SearchRow>(
        sql`select ${columnsOf(served)} from ${sql.identifier(served.table)} where id > ${after} order by id limit ${BATCH}${forUpdate}`,
      )
      await index(tx, served, batch)
      return batch
    })
    done += rows.length
    last = rows.length === 0 ? undefined : Number(rows.at(-1)?.id)
  }
  return done
}

/** `field` is the same text as `term`, whatever the case of either. */
export const equals = (table: string, id: SQLiteColumn, field: string, term: string): SQL =>
  sql`${id} in (select id from ${name(table)} where ${sql.identifier(field)} = ${fold(term)})`

/** `field` begins with `term`, whatever the case of either: a range of the field's index. */
export function startsWith(table: string, id: SQLiteColumn, field: string, term: string): SQL {
  const column = sql.identifier(field)
  const first = fold(term)
  const past = successor(first)
  const upTo = past === undefined ? sql`` : sql` and ${column} < ${past}`
  return sql`${id} in (select id from ${name(table)} where ${column} >= ${first}${upTo})`
}

const LAST_CODE_POINT = 0x10ffff
const BEFORE_SURROGATES = 0xd7ff
const AFTER_SURROGATES = 0xe000

/** The first text, by code point, after all that begin with `prefix`; undefined where there is none. */
function successor(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) as number)
  while (points.at(-1) === LAST_CODE_POINT) points.pop()
  const last = points.pop()
  if (last === undefined) return undefined
  return String.fromCodePoint(...points, last === BEFORE_SURROGATES ? AFTER_SURROGATES : last + 1)
}

const name = (table: string) => sql.identifier(searchTable(table))
const columnsOf = ({ folded }: Served) => commas(['id', ...folded].map((column) => sql.identifier(column)))
const commas = (parts: SQLChunk[]) => sql.join(parts, sql`, `)
const folded = (value: unknown) => sql`${typeof value === 'string' ? fold(value) : null}`
