// Applies the filter of a webhook to states of records. Filters use the query language of lists, and reuse its SQL.
import { type SQL, sql } from 'drizzle-orm'
import { type Column, columnsByName, type Database, type Queries } from '../../drizzle/database.ts'
import { fold } from '../../drizzle/fold.ts'
import { memoize } from '../../drizzle/memoize.ts'
import { toDriverValue } from '../../drizzle/rows.ts'
import { nameSearchTable } from '../../drizzle/search.ts'
import type { Fault } from '../errors.ts'
import { compileQuery } from '../query/list.ts'
import { decidesMatches, type ListQuery } from '../query/params.ts'
import { compileQuerystring } from '../query/querystring.ts'
import type { Resource } from '../query/resource.ts'
import { getColumnsByField, type Row } from '../query/rows.ts'

/** Returns a parser for the parameters of a list that decide which records match. */
const getFilterReader = memoize((resource: Resource) => {
  const { querystring } = resource.list
  const properties = Object.fromEntries(Object.entries(querystring.properties).filter(([name]) => decidesMatches(name)))
  return compileQuerystring({ ...querystring, properties })
})

/** Parses a filter. Faults name its parameters. */
export function readFilter(resource: Resource, filter: string): { query: ListQuery; faults: Fault[] } {
  const read = getFilterReader(resource)
  // A filter may hold unescaped non-ASCII characters, since it is no URL.
  const { values, faults } = read(filter.toWellFormed().replace(/[^\0-\x7f]+/g, encodeURIComponent))
  return { query: values as ListQuery, faults }
}

/** Maximum rows per statement. Each row binds one parameter per field, and databases limit parameters. */
const MAX_ROWS = 200

/** Returns the indices of the rows that match a query. `rows` are states of records, past or present, as the API shows them. */
export async function findMatches(
  tx: Queries,
  db: Database,
  resource: Resource,
  query: ListQuery,
  rows: readonly Row[],
): Promise<Set<number>> {
  const { clauses } = compileQuery(db, resource, query)
  if (clauses.length === 0) return new Set(rows.keys())
  const checks = clauses.map((clause) => clause.check(...clause.values.map((value) => sql`${sql.param(value)}`)))
  const matched = new Set<number>()
  for (const round of groupDistinct(rows)) {
    const tables = buildRowTables(
      db,
      resource,
      round.map((place) => rows[place] as Row),
    )
    const table = db.tables[resource.table]
    const matches = await tx.all<{ id: number }>(sql`${tables} select ${table.id} from ${table} where ${sql.join(checks, sql` and `)}`)
    const ids = new Set(matches.map(({ id }) => Number(id)))
    for (const place of round) if (ids.has(rows[place]?.id as number)) matched.add(place)
  }
  return matched
}

/** Splits row indices into groups of distinct ids, because the query identifies a record by its id. */
function* groupDistinct(rows: readonly Row[]): Generator<number[]> {
  let left = [...rows.keys()]
  while (left.length > 0) {
    const ids = new Set<number>()
    const [round, rest]: [number[], number[]] = [[], []]
    for (const place of left) {
      const { id } = rows[place] as Row
      if (ids.has(id) || round.length === MAX_ROWS) rest.push(place)
      else {
        ids.add(id)
        round.push(place)
      }
    }
    yield round
    left = rest
  }
}

/** Builds common table expressions that shadow the table and its search table, so that the query sees only these rows. */
function buildRowTables(db: Database, resource: Resource, rows: readonly Row[]): SQL {
  const columns = Object.entries(getColumnsByField(db, resource))
  const records = rows.map((row) =>
    buildTuple(columns.map(([field, column]) => castValue(column, toDriverValue(column, row[field] ?? null)))),
  )
  const { foldedFields: folded, table } = resource.served
  const own = columnsByName(db.tables[table])
  const texts = rows.map((row) => {
    const cells = folded.map((field) => castValue(own[field] as Column, typeof row[field] === 'string' ? fold(row[field]) : null))
    return buildTuple([castValue(own.id as Column, row.id), ...cells, ...db.dialect.computedColumns.map(({ from }) => from(cells))])
  })
  const names = (list: readonly string[]) => buildTuple(list.map((name) => sql.identifier(name) as unknown as SQL))
  const search = [...['id', ...folded], ...db.dialect.computedColumns.map(({ name }) => name)]
  return sql`with ${sql.identifier(table)} ${names(columns.map(([, { name }]) => name))} as (values ${joinList(records)}),
    ${sql.identifier(nameSearchTable(table))} ${names(search)} as (values ${joinList(texts)})`
}

const joinList = (parts: readonly SQL[]): SQL => sql.join([...parts], sql`, `)
const buildTuple = (parts: readonly SQL[]): SQL => sql`(${joinList(parts)})`

/** Casts a value to the type of a column, with the column's collation if it has one. */
function castValue(column: Column, value: unknown): SQL {
  const [type = '', collation] = column.getSQLType().split(/ (?=collate )/)
  return sql`cast(${sql.param(value)} as ${sql.raw(type)})${sql.raw(collation ? ` ${collation}` : '')}`
}
