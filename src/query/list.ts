// Reads pages of records with the number of matches, and single records.
import type { Column, Database } from '../../drizzle/database.ts'
import { cachePerDatabase } from '../../drizzle/per-database.ts'
import { type Clause, type ListResult, listTables, type PagePlace, type Selection } from '../../drizzle/selection.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import { invalid, Problem } from '../errors.ts'
import { type CanonicalQuery, canonicalise } from './canonical.ts'
import { type CursorPlace, type CursorScope, readCursor, writeCursor } from './cursor.ts'
import type { FilterValue } from './lookups.ts'
import { COUNT_MODES, DEFAULT_PAGE_SIZE, type ListQuery, MAX_FILTERS, type OrderTerm } from './params.ts'
import type { Resource } from './resource.ts'
import { getProjection, type Projection, type Row } from './rows.ts'

/** The next or previous page. */
export interface Neighbour {
  page: number
  cursor: string
}

export interface RecordPage {
  /** Null with `count=none`. */
  count: number | null
  /** Whether `count` is exact. Otherwise at least `count` records match. */
  exact: boolean
  rows: Row[]
  next: Neighbour | undefined
  previous: Neighbour | undefined
  /** Number of the last page, if known. */
  last: number | undefined
  canonical: CanonicalQuery
  /** State of the tables when the page was read. */
  state: string
}

interface ListOptions {
  /** Number of matches up to which a bounded count is exact. */
  countLimit: number
  /** Time limit, in milliseconds of `performance.now()`. The default is QUERY_TIMEOUT after the call. */
  deadline?: number
}

/** A query, compiled for all of its pages. */
interface CompiledQuery extends Pick<Selection, 'clauses' | 'shape' | 'filter' | 'order'> {
  canonical: CanonicalQuery
  /** Scope of the cursors, without the page. */
  list: string
  /** Places of the ordering keys in a row. */
  places: readonly number[]
  /** Tables that the list depends on. */
  tables: readonly ServedName[]
  /** Canonical query string, with the page. */
  link: string
}

/** A repeated query string yields the same query object, so each is compiled once. */
const buildCompiler = (resource: Resource) =>
  cachePerDatabase((db, query: ListQuery): CompiledQuery => {
    const shown = getProjection(db, resource)
    const spelling = canonicalise(resource, query)
    const terms = endWithId(query.ordering ?? resource.list.defaultOrder)
    const places = terms.map(({ field }) => shown.findPlace(field))
    const order = terms.map(({ descending }, index) => ({ column: shown.columns[places[index] as number] as Column, descending }))
    // A cursor contains column values as stored. It becomes invalid when the type of such a column changes.
    const types = order.map(({ column }) => column.getSQLType())
    const { clauses, shape } = buildClauses(db, resource, query)
    return {
      canonical: spelling,
      list: `${resource.table}?${spelling.filters}&${spelling.ordering} ${types}`,
      places,
      order,
      clauses,
      shape: `${shape} ${spelling.ordering}`,
      filter: spelling.filters,
      tables: listTables({ name: resource.table, clauses }),
      link: spelling.link(query.page ?? 1, query.cursor),
    }
  })

const compilers = new WeakMap<Resource, ReturnType<typeof buildCompiler>>()

/** Compiles a query. Throws `invalid-request` for too many filters. */
export function compileQuery(db: Database, resource: Resource, query: ListQuery): CompiledQuery {
  const ofResource = compilers.get(resource) ?? buildCompiler(resource)
  compilers.set(resource, ofResource)
  return ofResource(db, query)
}

/**
 * Reads a page of a list. Throws `page-not-found` for a page past the end; an empty list has a first page. Throws `invalid-request` for
 * a cursor of another list, and for `page=last` if the number of pages is unknown.
 */
export async function listRecords(
  db: Database,
  resource: Resource,
  query: ListQuery,
  { countLimit, deadline }: ListOptions,
): Promise<RecordPage> {
  const { places, canonical: spelling, list, tables: _, link: __, ...chosen } = compileQuery(db, resource, query)
  const { columns, toRow } = getProjection(db, resource)
  const number = query.page ?? 1
  const scope: Omit<CursorScope, 'page'> = { secret: await db.loadSecret(), list }
  const place = findStart(query, scope)
  if (number === 'last' && query.count === 'none') throw buildLastUnknown('leave out count=none')

  const selection: Selection = {
    ...chosen,
    name: resource.table,
    table: db.tables[resource.table],
    columns,
    place,
    size: query.page_size ?? DEFAULT_PAGE_SIZE,
    count: query.count ?? COUNT_MODES[0],
    countLimit,
  }
  const listed = await db.list(selection, deadline)
  if ('page' in place) checkPage(place.page, selection.size, listed)
  return buildPage(selection, listed, { toRow, places, canonical: spelling, scope, number: number === 'last' ? listed.page : number })
}

function findStart({ cursor, page = 1 }: ListQuery, scope: Omit<CursorScope, 'page'>): PagePlace {
  if (cursor === undefined) return { page }
  const place = page === 'last' ? undefined : readCursor({ ...scope, page }, cursor)
  if (place) return place
  throw invalid([{ parameter: 'cursor', detail: 'belongs to another page or list: follow a link unchanged, or leave out cursor' }])
}

const buildLastUnknown = (detail: string) => invalid([{ parameter: 'page', detail: `the last page is unknown: ${detail}` }])

function checkPage(page: number | 'last', size: number, { count, rows }: ListResult): void {
  if (page === 'last') {
    if (!count.exact) throw buildLastUnknown(`more than ${count.rows} records match: add count=exact`)
  } else if (page > 1 && rows.length === 0) {
    const pages = Math.max(1, Math.ceil(count.rows / size))
    const known = count.exact ? `There ${pages === 1 ? 'is 1 page' : `are ${pages} pages`} of ${size}.` : 'There are fewer pages.'
    throw new Problem('page-not-found', known)
  }
}

function buildClauses(
  db: Database,
  { table, list: { filters }, search, served }: Resource,
  query: ListQuery,
): { clauses: Clause[]; shape: string } {
  const clauses: Clause[] = []
  let shape = ''
  const add = (name: string, clause: Clause) => {
    clauses.push(clause)
    shape += ` ${name}${clause.variant === undefined ? '' : `(${clause.variant})`}`
  }
  for (const name of Object.keys(query).sort()) {
    const filter = filters.get(name)
    if (!filter) continue
    if (clauses.length === MAX_FILTERS) throw invalid([{ parameter: name, detail: `exceeds the limit of ${MAX_FILTERS} filters` }])
    add(name, filter.clause(db, query[name] as readonly FilterValue[]))
  }
  const terms = query.search?.terms ?? []
  if (terms.length > 0)
    add('search', db.dialect.contains(table, db.tables[table].id, search, terms, search.length === served.foldedFields.length))
  return { clauses, shape }
}

interface PageContext {
  toRow: Projection['toRow']
  places: readonly number[]
  canonical: CanonicalQuery
  scope: Omit<CursorScope, 'page'>
  number: number
}

function buildPage(
  { place, size, count: mode }: Selection,
  listed: ListResult,
  { toRow, places, canonical: spelling, scope, number }: PageContext,
): RecordPage {
  const { rows, hasBefore: before, hasAfter: after, count } = listed
  const at = (row: readonly unknown[]) => places.map((place) => row[place])
  const neighbour = (page: number, backward: boolean): Neighbour => {
    const row = backward ? rows[0] : rows.at(-1)
    // An empty page has no row. Its cursor still names a row, and rows on either side of that may have come since.
    const beside: CursorPlace = row
      ? { beside: at(row), backward, inclusive: false }
      : { beside: (place as CursorPlace).beside, backward, inclusive: backward !== (place as CursorPlace).backward }
    return { page, cursor: writeCursor({ ...scope, page }, beside) }
  }
  const seen = (listed.page > 0 ? (listed.page - 1) * size : 0) + rows.length + (after ? 1 : 0)
  return {
    count: mode === 'none' ? null : count.exact ? count.rows : Math.max(count.rows, seen),
    exact: mode === 'none' || count.exact,
    rows: rows.map(toRow),
    next: after ? neighbour(number + 1, false) : undefined,
    previous: before ? neighbour(Math.max(1, number - 1), true) : undefined,
    last: mode !== 'none' && count.exact ? Math.max(1, Math.ceil(count.rows / size)) : undefined,
    canonical: spelling,
    state: listed.state,
  }
}

/** Reads a record. Throws `not-found`. */
export async function readRecord(db: Database, resource: Resource, id: number): Promise<Row> {
  const { selectById: byId, toRow } = getProjection(db, resource)
  const [row] = await db.readRows(byId, [id])
  if (!row) throw buildNotFound(resource, id)
  return toRow(row)
}

/** Reads a record with the state of its table at that moment. Throws `not-found`. */
export async function readRecordWithState(db: Database, resource: Resource, id: number): Promise<{ row: Row; state: string }> {
  const { selectByIdWithState: byIdWithState, columns, toRow } = getProjection(db, resource)
  const [row] = await db.readRows(byIdWithState, [id])
  if (!row) throw buildNotFound(resource, id)
  return { row: toRow(row), state: String(row[columns.length]) }
}

export const buildNotFound = ({ singular }: Resource, id: number) => new Problem('not-found', `There is no ${singular} with the id ${id}.`)

/** Ends an ordering with the unique id. Otherwise rows with equal keys could change places between pages. Keys after the id are dropped. */
function endWithId(ordering: readonly OrderTerm[]): readonly OrderTerm[] {
  const id = ordering.findIndex(({ field }) => field === 'id')
  if (id >= 0) return ordering.slice(0, id + 1)
  return [...ordering, { field: 'id', descending: ordering.at(-1)?.descending ?? false }]
}
