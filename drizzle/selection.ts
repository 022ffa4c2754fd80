// What a list asks of a database, and what it gets. Threads that read lists load it: of Drizzle it imports nothing but types.
import type { SQL, SQLWrapper } from 'drizzle-orm'
import type { SQLiteColumn, SQLiteTable } from 'drizzle-orm/sqlite-core'
import type { ServedName } from './tables.ts'

/** A condition on the rows of a table. The values stand beside the SQL, so that one statement serves all that differ in them only. */
export interface Clause {
  /** Tells apart clauses of one filter whose SQL differs. */
  variant?: string
  /** What is bound, as the driver takes it. */
  values: readonly unknown[]
  /** Whether a row of the table holds. `values` are placeholders, in the same order. */
  check(...values: SQL[]): SQL
  /** The ids (as `id`) of the rows that hold, from an index of their own, where `check` alone would not lead to one. `guard` has to hold for each id too. */
  selectIds?(guard: Guard, ...values: SQL[]): SQL
  /** No index leads to the rows that hold: all have to be looked at. */
  isUnindexed?: boolean
  /** `check` is true or false and never NULL, so that NOT is its opposite: PostgreSQL makes a join of NOT EXISTS. */
  isDefinite?: boolean
  /** The same as `check` (or NULL for false), looked up for one row at a time. */
  lookUp?(...values: SQL[]): SQL
  /** The index has those rows in the order of their ids. */
  isOrderedById?: boolean
  /** Another table whose rows decide too. */
  readsTable?: ServedName
  /** Posting lists that are read from end to end before the first row is seen, at worst. */
  postings?: number
}

/** A condition that always holds, and is asked for the row with an id while it is visited. */
export type Guard = (id: SQLWrapper) => SQL

/**
 * Where a page begins: at a number, or beside a row, whose values of the ordering keys are given as the driver gave them. `inclusive`
 * takes that row too, if it is there.
 */
export type PagePlace = { page: number | 'last' } | { beside: readonly unknown[]; backward: boolean; inclusive: boolean }

/** Milliseconds that a count may take which need not be exact: of the processor's time where it is counted in this process. */
export const COUNT_TIME = 200

/** How far a count goes: to a limit of rows and of time, to the end, or no further than helps to choose a plan. */
export type CountMode = 'bounded' | 'exact' | 'none'

export interface Selection {
  name: ServedName
  table: SQLiteTable & { id: SQLiteColumn }
  columns: readonly SQLiteColumn[]
  clauses: readonly Clause[]
  /** Ends in the id. */
  order: readonly { column: SQLiteColumn; descending: boolean }[]
  place: PagePlace
  /** Rows of a page. */
  size: number
  count: CountMode
  /** Matches up to which a bounded count is exact. */
  countLimit: number
  /** The same for two selections that differ in values and places only. */
  shape: string
  /** The same for two selections with the same clauses and values. */
  filter: string
}

/** A number of rows: all that match, or as many as were seen before a limit. */
export interface Count {
  rows: number
  exact: boolean
}

export interface ListPage {
  count: Count
  /** As the driver gave them. Behind the columns may stand more. */
  rows: unknown[][]
  /** The number of the page, where it was found by that; else 0. */
  page: number
  /** Whether there are rows in front of these, and behind them. */
  hasBefore: boolean
  hasAfter: boolean
}

/** The same, with the state that the tables had at that moment. */
export interface ListResult extends ListPage {
  state: string
}

/** The tables that decide which rows match: the list's own, and those that its clauses look into. */
export function listTables({ name, clauses }: Pick<Selection, 'name' | 'clauses'>): ServedName[] {
  const others = clauses.flatMap(({ readsTable: reads }) => (reads === undefined || reads === name ? [] : [reads]))
  return [name, ...new Set(others)]
}

/** What was true when a row was read: it stands behind its columns. */
export interface TableHead {
  /** The state of the tables that decide which rows match. */
  version: string
  /** All rows of the table. */
  count: Count
}

/** Reads it from the text that both engines make of it. Undefined where there is no row to have it. */
export function parseHead(text: unknown): TableHead | undefined {
  if (typeof text !== 'string') return undefined
  const end = text.indexOf(' ')
  return { version: text.slice(0, end), count: { rows: Number(text.slice(end + 1)), exact: true } }
}

/** The number of a page that is asked for by that; else 0. */
export function computePageNumber({ place, size }: Pick<Selection, 'place' | 'size'>, count: Count): number {
  if (!('page' in place)) return 0
  return place.page === 'last' ? Math.max(1, Math.ceil(count.rows / size)) : place.page
}

interface PagePosition {
  count: Count
  /** Rows in front of the page, where it is found by its number. */
  offset: number
  /** They were read from the end of the list. */
  back: boolean
  /** There are rows on the other side of the place. */
  others: boolean
}

/** What `rows` come to, which are in the order in which they were read. */
export function buildListPage(
  selection: Pick<Selection, 'place' | 'size'>,
  rows: unknown[][],
  { count, offset, back, others }: PagePosition,
): ListPage {
  const { place, size } = selection
  const page = computePageNumber(selection, count)
  // Back from the end, the last page is what is left over by full ones before it.
  if (back)
    return { count, rows: rows.slice(0, count.rows - offset).reverse(), page, hasBefore: true, hasAfter: count.rows - offset > size }
  const more = rows.length > size
  if (more) rows.pop()
  if ('page' in place) return { count, rows, page, hasBefore: page > 1, hasAfter: more }
  return place.backward
    ? { count, rows: rows.reverse(), page, hasBefore: more, hasAfter: others }
    : { count, rows, page, hasBefore: others, hasAfter: more }
}

/** Matches at which sorting them costs as much as walking along an index to the first page of them. */
export const MAX_SORTED = 2_000

/** It is known that nothing matches. */
export const isEmpty = ({ rows, exact }: Count): boolean => exact && rows === 0

/** The page is the first, in front of which there is nothing to pass over. */
export const isFirstPage = (place: PagePlace): boolean => 'page' in place && place.page === 1

/** What tells the statements of a selection from those of others: a row's NULLs are compared by other SQL than its values. */
export function computeShape({ shape, place }: Selection): string {
  if ('page' in place) return isFirstPage(place) ? `${shape} first` : shape
  const nulls = place.beside.map((key) => (key === null ? '0' : '1')).join('')
  return `${shape} ${place.backward ? 'before' : 'after'}${place.inclusive ? '=' : ''} ${nulls}`
}

/** The values of a selection in the order in which the placeholders count them: of the clauses, then of the row that it is beside. */
export function listValues({ clauses, place }: Selection): unknown[] {
  const values: unknown[] = []
  for (const clause of clauses) values.push(...clause.values)
  if ('beside' in place) values.push(...place.beside)
  return values
}

/** Rows that a count need not go beyond. */
export const computeCountLimit = ({ count, countLimit }: Pick<Selection, 'count' | 'countLimit'>): number =>
  ({ bounded: countLimit, exact: Number.POSITIVE_INFINITY, none: MAX_SORTED })[count]
