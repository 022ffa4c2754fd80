// A list as a database reads it: the selection and its page. Threads that read lists load this file, so it imports only types of Drizzle.
import type { SQL, SQLWrapper } from 'drizzle-orm'
import type { SQLiteColumn, SQLiteTable } from 'drizzle-orm/sqlite-core'
import type { ServedName } from './tables.ts'

/** A condition on the rows of a table. Its values stand beside the SQL, so that one statement serves all values. */
export interface Clause {
  /** Distinguishes clauses of one filter with different SQL. */
  variant?: string
  /** Values to bind, encoded for the driver. */
  values: readonly unknown[]
  /** Builds the condition on a row of the table. `values` are placeholders in the order of the values. */
  check(...values: SQL[]): SQL
  /** Selects the ids (as `id`) of the matching rows from an index that `check` alone would not use. It must check `guard` for each id. */
  selectIds?(guard: Guard, ...values: SQL[]): SQL
  /** No index leads to the matching rows, so all rows must be visited. */
  isUnindexed?: boolean
  /** `check` is never NULL, so NOT negates it: PostgreSQL turns NOT EXISTS into a join. */
  isDefinite?: boolean
  /** Builds the condition as a lookup for one row at a time. It may be NULL for false. */
  lookUp?(...values: SQL[]): SQL
  /** The index yields the matching rows in the order of their ids. */
  isOrderedById?: boolean
  /** Another table whose rows decide which rows match. */
  readsTable?: ServedName
  /** Maximum number of posting lists that are read completely before the first row is found. */
  postings?: number
}

/** Builds a condition that is always true. SQLite evaluates it for each id that it visits. */
export type Guard = (id: SQLWrapper) => SQL

/**
 * The start of a page: a page number, or a row, by the driver's values of its ordering keys. A `backward` page ends before the row.
 * `inclusive` includes the row itself if it exists.
 */
export type PagePlace = { page: number | 'last' } | { beside: readonly unknown[]; backward: boolean; inclusive: boolean }

/** Milliseconds for a count that need not be exact. In this process they are CPU time. */
export const COUNT_TIME = 200

/** Extent of a count: `bounded` stops at a limit of rows and of time, `exact` goes to the end, `none` only as far as choosing a plan needs. */
export type CountMode = 'bounded' | 'exact' | 'none'

/** A page of a list: conditions, order, place and count. */
export interface Selection {
  name: ServedName
  table: SQLiteTable & { id: SQLiteColumn }
  columns: readonly SQLiteColumn[]
  clauses: readonly Clause[]
  /** Ordering columns. The last one is the id. */
  order: readonly { column: SQLiteColumn; descending: boolean }[]
  place: PagePlace
  /** Rows of a page. */
  size: number
  count: CountMode
  /** Maximum number of matches that a bounded count counts exactly. */
  countLimit: number
  /** Key of the statements: selections that differ only in values and places share it. */
  shape: string
  /** Key of the count: selections with the same clauses and values share it. */
  filter: string
}

/** A number of rows: all matches, or, if not `exact`, those found before a limit. */
export interface Count {
  rows: number
  exact: boolean
}

/** A page that was read. */
export interface ListPage {
  count: Count
  /** Rows with the driver's values. More values may follow those of the columns. */
  rows: unknown[][]
  /** The number of the page; 0 for a page beside a row. */
  page: number
  hasBefore: boolean
  hasAfter: boolean
}

/** A page with the state of the tables at the moment of reading. */
export interface ListResult extends ListPage {
  state: string
}

/** Lists the tables that decide which rows match: the list's own, and those that its clauses read. */
export function listTables({ name, clauses }: Pick<Selection, 'name' | 'clauses'>): ServedName[] {
  const others = clauses.flatMap(({ readsTable }) => (readsTable === undefined || readsTable === name ? [] : [readsTable]))
  return [name, ...new Set(others)]
}

/** Table version and row count, appended as the last column of each row. */
export interface TableHead {
  /** State of the tables that decide which rows match. */
  version: string
  /** Number of all rows of the table. */
  count: Count
}

/** Parses the text of `selectHead`. Returns undefined if there is no row to carry it. */
export function parseHead(text: unknown): TableHead | undefined {
  if (typeof text !== 'string') return undefined
  const end = text.indexOf(' ')
  return { version: text.slice(0, end), count: { rows: Number(text.slice(end + 1)), exact: true } }
}

/** Computes the number of a page. Returns 0 for a page beside a row. */
export function computePageNumber({ place, size }: Pick<Selection, 'place' | 'size'>, count: Count): number {
  if (!('page' in place)) return 0
  return place.page === 'last' ? Math.max(1, Math.ceil(count.rows / size)) : place.page
}

/** The position of a page's rows in the list. */
interface PagePosition {
  count: Count
  /** Number of rows before a page with a number. */
  offset: number
  /** The rows were read from the end of the list. */
  isFromEnd: boolean
  /** The list has rows on the other side of the place. */
  hasOthers: boolean
}

/** Builds a page from rows in the order of reading. */
export function buildListPage(
  selection: Pick<Selection, 'place' | 'size'>,
  rows: unknown[][],
  { count, offset, isFromEnd, hasOthers }: PagePosition,
): ListPage {
  const { place, size } = selection
  const page = computePageNumber(selection, count)
  // Counted from the end, the last page has the rows that full pages leave over.
  if (isFromEnd)
    return { count, rows: rows.slice(0, count.rows - offset).reverse(), page, hasBefore: true, hasAfter: count.rows - offset > size }
  const hasMore = rows.length > size
  if (hasMore) rows.pop()
  if ('page' in place) return { count, rows, page, hasBefore: page > 1, hasAfter: hasMore }
  return place.backward
    ? { count, rows: rows.reverse(), page, hasBefore: hasMore, hasAfter: hasOthers }
    : { count, rows, page, hasBefore: hasOthers, hasAfter: hasMore }
}

/** Maximum number of matches to sort. Beyond it, walking along an index to the first page costs less. */
export const MAX_SORTED = 2_000

/** Returns whether certainly no row matches. */
export const isEmpty = ({ rows, exact }: Count): boolean => exact && rows === 0

/** Returns whether the page is page 1, which needs no offset. */
export const isFirstPage = (place: PagePlace): boolean => 'page' in place && place.page === 1

/** Computes the key of a selection's statements. It tells which keys of a row are NULL, because SQL compares them in another way. */
export function computeShape({ shape, place }: Selection): string {
  if ('page' in place) return isFirstPage(place) ? `${shape} first` : shape
  const nulls = place.beside.map((key) => (key === null ? '0' : '1')).join('')
  return `${shape} ${place.backward ? 'before' : 'after'}${place.inclusive ? '=' : ''} ${nulls}`
}

/** Lists the values of a selection in the order of the placeholders: those of the clauses, then those of the row beside the page. */
export function listValues({ clauses, place }: Selection): unknown[] {
  const values: unknown[] = []
  for (const clause of clauses) values.push(...clause.values)
  if ('beside' in place) values.push(...place.beside)
  return values
}

/** Computes the number of rows at which a count may stop. */
export const computeCountLimit = ({ count, countLimit }: Pick<Selection, 'count' | 'countLimit'>): number =>
  ({ bounded: countLimit, exact: Number.POSITIVE_INFINITY, none: MAX_SORTED })[count]
