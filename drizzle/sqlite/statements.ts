// Builds the statements for the shape of a list on SQLite. list.ts chooses among them by the number of matches.
import { getTableName, type SQL, sql } from 'drizzle-orm'
import { getTableConfig, type SQLiteColumn, SQLiteSyncDialect, type SQLiteTable } from 'drizzle-orm/sqlite-core'
import {
  buildChecks,
  buildIdQuery,
  buildOrderBy,
  buildOrderKeys,
  buildRangesAfter,
  canWalkIndex,
  joinAnd,
  type OrderKey,
  type Placeholders,
  reverseOrder,
  selectHead,
} from '../conditions.ts'
import type { ServedResource } from '../database.ts'
import type { DerivedPart } from '../migrations.ts'
import { computeCountLimit, type Guard, isFirstPage, MAX_SORTED, type Selection } from '../selection.ts'
import { createCompiler, placeholder, quoteName, type Statement } from '../statement.ts'
import { SAMPLE_MASK } from './reader.ts'

/** Maximum number of clauses whose index may drive a statement. The other clauses are checked row by row. */
export const MAX_DRIVERS = 8

/** A guard that calls `tick()` for a random sample of the visited rows. SQLite evaluates it before the conditions that follow it. */
const tick: Guard = (id) => sql`(${id} * salt() & ${sql.raw(String(SAMPLE_MASK))} or tick())`
export const compile = createCompiler(new SQLiteSyncDialect())

const nameIdIndex = (table: string) => `${table}_ids`

/** Builds an index of the ids alone. It finds deep pages in the order of the ids without reading whole rows. */
export const buildIdIndex = ({ table }: ServedResource): DerivedPart => ({
  name: nameIdIndex(table),
  isLostInRebuild: true,
  needs: [`index ${nameIdIndex(table)} on ${table} (id)`],
  statements: [`create index if not exists ${nameIdIndex(table)} on ${quoteName(table)} (id)`],
  fill: async () => {},
})

/**
 * Builds the statements of a shape by name. The clause with the number in the name drives the statement: its rows' ids come first, and the
 * matches among them are sorted. A statement without a number walks along an index in the order of the list, and checks each row. `back`
 * reads from the end.
 */
export function buildStatements(selection: Selection): Record<string, Statement> {
  const { clauses, place, size, columns } = selection
  const order = buildOrderKeys(selection)
  const valueCount = clauses.reduce((sum, { values }) => sum + values.length, 0)
  // FTS5 seeks by integers only, and the driver binds every number as a float.
  const key: Placeholders = (index) =>
    index === order.length - 1 ? sql`cast(${placeholder(valueCount + index)} as integer)` : placeholder(valueCount + index)
  const head = selectHead(selection)
  const statements: Record<string, SQL> = { head: sql`select ${head}` }
  for (const driver of [undefined, ...clauses.keys().take(MAX_DRIVERS)]) {
    const name = (statement: string) => (driver === undefined ? statement : `${statement}:${driver}`)
    if (clauses.length > 0) statements[name('count')] = buildCount(selection, driver)
    if (driver !== undefined)
      statements[name('probe')] =
        sql`select count(*) from (select 1 from (${buildIdQuery(selection, placeholder, driver, tick)}) limit ${sql.raw(String(MAX_SORTED + 1))})`
    if ('page' in place) {
      const output = [...columns, head]
      const offset = isFirstPage(place) ? {} : { offset: placeholder(valueCount) }
      statements[name('rows')] = buildRowQuery(selection, { driver, output, order, ...offset, limit: size + 1 })
      if (!isFirstPage(place))
        statements[name('back')] = buildRowQuery(selection, { driver, output, order: reverseOrder(order), ...offset, limit: size })
    } else {
      const [forward, back] = place.backward ? [reverseOrder(order), order] : [order, reverseOrder(order)]
      const beside = (inclusive: boolean) => (order: readonly OrderKey[]) => buildRangesAfter(order, place.beside, key, inclusive, true)
      const others = buildRowQuery(selection, { driver, output: [sql`1`], order: back, ranges: beside(!place.inclusive), limit: 1 })
      // EXISTS would ignore the order, and find the first row late.
      const output = [...columns, sql`(${others})`, head]
      statements[name('rows')] = buildRowQuery(selection, {
        driver,
        output,
        order: forward,
        ranges: beside(place.inclusive),
        limit: size + 1,
      })
      statements[name('others')] = others
    }
  }
  return Object.fromEntries(Object.entries(statements).map(([title, query]) => [title, compile(query)]))
}

/** Builds a count. `matched()` is a result column: SQLite evaluates the terms of a WHERE in any order, and would count rows that a later term drops. */
function buildCount(selection: Selection, driver: number | undefined): SQL {
  const limit = computeCountLimit(selection)
  const stop = Number.isFinite(limit) ? sql.raw(` limit ${limit + 1}`) : sql``
  const { from, checks } = buildSource(selection, driver)
  const ticks = driver === undefined ? [tick(selection.table.id)] : []
  return sql`select count(hit) from (select matched() as hit from ${from} where ${joinAnd([...ticks, ...checks])}${stop})`
}

/**
 * Builds the source of a statement: the table, or the ids of the driver's rows joined with the table. `cross join` fixes the order of the join,
 * and `+` keeps SQLite from finding the ids by another clause.
 */
function buildSource(selection: Selection, driver: number | undefined, hint = sql``): { from: SQL; checks: SQL[] } {
  const { table } = selection
  if (driver === undefined) return { from: sql`${table}${hint}`, checks: buildChecks(selection, placeholder) }
  const ids = buildIdQuery(selection, placeholder, driver, tick)
  return { from: sql`(${ids}) driver cross join ${table} on ${table.id} = +driver.id`, checks: buildChecks(selection, placeholder, driver) }
}

/** The parts of a query for rows. */
interface DriverRowQuery {
  driver: number | undefined
  output: readonly (SQL | SQLiteColumn)[]
  order: readonly OrderKey[]
  /** Builds conditions on the keys of the order. Their ranges follow each other. */
  ranges?: (order: readonly OrderKey[]) => SQL[]
  offset?: SQL
  limit: number
}

function buildRowQuery(selection: Selection, rows: DriverRowQuery): SQL {
  const { table, clauses } = selection
  const limit = sql.raw(String(rows.limit))
  const output = sql.join([...rows.output], sql`, `)
  const offset = rows.offset ? sql` offset ${rows.offset}` : sql``
  const byId = rows.order.length === 1
  if (byId && clauses.length === 0 && rows.offset) {
    const ids = sql`select ${table.id} from ${table} indexed by ${sql.identifier(nameIdIndex(getTableName(table)))} ${buildOrderBy(rows.order)} limit ${limit}${offset}`
    return sql`select ${output} from ${table} where ${table.id} in (${ids}) ${buildOrderBy(rows.order)}`
  }
  const idDriver = rows.driver === undefined && byId ? clauses.findIndex((clause) => clause.isOrderedById && clause.selectIds) : -1
  const driver = idDriver >= 0 ? idDriver : rows.driver
  // If the driver's index yields ids in order, ordering by these ids lets SQLite skip sorting.
  const order =
    byId && driver !== undefined && clauses[driver]?.isOrderedById
      ? rows.order.map((key) => ({ ...key, column: sql`driver.id` }))
      : rows.order
  const { from, checks } = buildSource(selection, driver, chooseHint(selection, { ...rows, driver }))
  // No ticks if an index yields exactly the rows of the page, which is quick, or if the driver's ids tick already.
  const isLong = clauses.length > 0 || !canWalkIndex(rows.order) || rows.offset !== undefined
  const ticks = driver === undefined && isLong ? [tick(table.id)] : []
  // The range comes after `tick()`, because a scan visits the rows outside it too. It comes before the checks, because SQLite takes the first
  // of two bounds, and the range is the narrower one.
  const select = (range: readonly SQL[]) =>
    sql`select ${output} from ${from} where ${joinAnd([...ticks, ...range, ...checks])} ${buildOrderBy(order)} limit ${limit}${offset}`
  const ranges = rows.ranges?.(order) ?? []
  if (ranges.length < 2) return select(ranges)
  // SQLite runs the parts one after the other, and stops at the limit.
  const parts = ranges.map((range) => sql`select * from (${select([range])})`)
  return sql`${sql.join(parts, sql` union all `)} limit ${limit}`
}

/** Chooses an index hint. Without it, SQLite would sort the rows of a filter's index, or the whole table if several fields order it. */
function chooseHint({ table, clauses }: Selection, { driver, order }: DriverRowQuery): SQL {
  const [first, second] = order
  if (driver !== undefined || !first) return sql``
  if (!second) return clauses.some(({ isOrderedById }) => isOrderedById) ? sql`` : sql` not indexed`
  const index = findIndex(table, first.name)
  return index ? sql` indexed by ${sql.identifier(index)}` : sql``
}

/** Finds the index in the order of a column. */
function findIndex(table: SQLiteTable, column: string): string | undefined {
  const { indexes } = getTableConfig(table)
  return indexes.find(({ config: { columns, where } }) => !where && columns[0] && 'name' in columns[0] && columns[0].name === column)
    ?.config.name
}
