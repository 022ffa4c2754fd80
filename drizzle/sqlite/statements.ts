// The statements that there are for the shape of a list on SQLite. Which of them run is decided by how many rows match: list.ts.
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

/** Clauses whose index may drive a statement; those behind them are only looked at row by row. */
export const MAX_DRIVERS = 8

/** Calls `tick()` for a random sample of the visited rows. SQLite evaluates it before the conditions that follow it. */
const tick: Guard = (id) => sql`(${id} * salt() & ${sql.raw(String(SAMPLE_MASK))} or tick())`
export const compile = createCompiler(new SQLiteSyncDialect())

const nameIdIndex = (table: string) => `${table}_ids`

/** An index of nothing but ids: deep pages in their order are found without passing over whole rows. */
export const buildIdIndex = ({ table }: ServedResource): DerivedPart => ({
  name: nameIdIndex(table),
  isLostInRebuild: true,
  needs: [`index ${nameIdIndex(table)} on ${table} (id)`],
  statements: [`create index if not exists ${nameIdIndex(table)} on ${quoteName(table)} (id)`],
  fill: async () => {},
})

/**
 * The statements of a shape. Those with a number drive from the clause with that number: they begin with the ids of its rows and sort
 * what is left of them. Those without walk along an index in the order of the list, and look at each row. `back` reads from the end.
 */
export function buildStatements(selection: Selection): Record<string, Statement> {
  const { clauses, place, size, columns } = selection
  const order = buildOrderKeys(selection)
  const bound = clauses.reduce((sum, { values }) => sum + values.length, 0)
  // FTS5 finds a place by a whole number only, and the driver binds every number as a fraction.
  const key: Placeholders = (index) =>
    index === order.length - 1 ? sql`cast(${placeholder(bound + index)} as integer)` : placeholder(bound + index)
  const head = selectHead(selection)
  const statements: Record<string, SQL> = { head: sql`select ${head}` }
  for (const driver of [undefined, ...clauses.keys().take(MAX_DRIVERS)]) {
    const named = (statement: string) => (driver === undefined ? statement : `${statement}:${driver}`)
    if (clauses.length > 0) statements[named('count')] = buildCount(selection, driver)
    if (driver !== undefined)
      statements[named('probe')] =
        sql`select count(*) from (select 1 from (${buildIdQuery(selection, placeholder, driver, tick)}) limit ${sql.raw(String(MAX_SORTED + 1))})`
    if ('page' in place) {
      const shown = [...columns, head]
      const offset = isFirstPage(place) ? {} : { offset: placeholder(bound) }
      statements[named('rows')] = buildRowQuery(selection, { driver, shown, order, ...offset, limit: size + 1 })
      if (!isFirstPage(place))
        statements[named('back')] = buildRowQuery(selection, { driver, shown, order: reverseOrder(order), ...offset, limit: size })
    } else {
      const [there, back] = place.backward ? [reverseOrder(order), order] : [order, reverseOrder(order)]
      const beside = (inclusive: boolean) => (order: readonly OrderKey[]) => buildRangesAfter(order, place.beside, key, inclusive, true)
      const others = buildRowQuery(selection, { driver, shown: [sql`1`], order: back, ranges: beside(!place.inclusive), limit: 1 })
      // Not by EXISTS, which would read without the order, having no use for it, and come upon the first row late.
      const shown = [...columns, sql`(${others})`, head]
      statements[named('rows')] = buildRowQuery(selection, {
        driver,
        shown,
        order: there,
        ranges: beside(place.inclusive),
        limit: size + 1,
      })
      statements[named('others')] = others
    }
  }
  return Object.fromEntries(Object.entries(statements).map(([title, query]) => [title, compile(query)]))
}

/** `matched()` is a result column: SQLite may evaluate the terms of a WHERE in any order, and would count rows that a later term drops. */
function buildCount(selection: Selection, driver: number | undefined): SQL {
  const limit = computeCountLimit(selection)
  const stop = Number.isFinite(limit) ? sql.raw(` limit ${limit + 1}`) : sql``
  const { from, checks } = buildSource(selection, driver)
  const asks = driver === undefined ? [tick(selection.table.id)] : []
  return sql`select count(found) from (select matched() as found from ${from} where ${joinAnd([...asks, ...checks])}${stop})`
}

/** The table, or the ids for which the clause `driver` holds and their rows; `cross join` keeps SQLite from turning that round, and the `+` from finding the ids by what else holds of them. */
function buildSource(selection: Selection, driver: number | undefined, hint = sql``): { from: SQL; checks: SQL[] } {
  const { table } = selection
  if (driver === undefined) return { from: sql`${table}${hint}`, checks: buildChecks(selection, placeholder) }
  const ids = buildIdQuery(selection, placeholder, driver, tick)
  return { from: sql`(${ids}) driver cross join ${table} on ${table.id} = +driver.id`, checks: buildChecks(selection, placeholder, driver) }
}

interface DriverRowQuery {
  driver: number | undefined
  shown: readonly (SQL | SQLiteColumn)[]
  order: readonly OrderKey[]
  /** Conditions on the keys of the order, whose rows follow each other. */
  ranges?: (order: readonly OrderKey[]) => SQL[]
  offset?: SQL
  limit: number
}

function buildRowQuery(selection: Selection, rows: DriverRowQuery): SQL {
  const { table, clauses } = selection
  const limit = sql.raw(String(rows.limit))
  const shown = sql.join([...rows.shown], sql`, `)
  const offset = rows.offset ? sql` offset ${rows.offset}` : sql``
  const byId = rows.order.length === 1
  if (byId && clauses.length === 0 && rows.offset) {
    const ids = sql`select ${table.id} from ${table} indexed by ${sql.identifier(nameIdIndex(getTableName(table)))} ${buildOrderBy(rows.order)} limit ${limit}${offset}`
    return sql`select ${shown} from ${table} where ${table.id} in (${ids}) ${buildOrderBy(rows.order)}`
  }
  const streamed = rows.driver === undefined && byId ? clauses.findIndex((clause) => clause.isOrderedById && clause.selectIds) : -1
  const driver = streamed >= 0 ? streamed : rows.driver
  // An index that has its rows in the order of their ids needs no sorting, if SQLite is told that it is those ids that are ordered.
  const order =
    byId && driver !== undefined && clauses[driver]?.isOrderedById
      ? rows.order.map((key) => ({ ...key, column: sql`driver.id` }))
      : rows.order
  const { from, checks } = buildSource(selection, driver, chooseHint(selection, { ...rows, driver }))
  // Where an index gives exactly the rows of the page, there is nothing that could take long; the ids of a driver have asked already.
  const long = clauses.length > 0 || !canWalkIndex(rows.order) || rows.offset !== undefined
  const ticks = driver === undefined && long ? [tick(table.id)] : []
  // A scan of the whole table drops rows by the range too, and these were visited: it comes after `tick()`. Of two bounds SQLite takes
  // the one that it reads first, and that of the place is the narrower.
  const select = (range: readonly SQL[]) =>
    sql`select ${shown} from ${from} where ${joinAnd([...ticks, ...range, ...checks])} ${buildOrderBy(order)} limit ${limit}${offset}`
  const ranges = rows.ranges?.(order) ?? []
  if (ranges.length < 2) return select(ranges)
  // SQLite runs the parts one after the other, and no further than to the limit.
  const parts = ranges.map((range) => sql`select * from (${select([range])})`)
  return sql`${sql.join(parts, sql` union all `)} limit ${limit}`
}

/** Without it SQLite sorts what it finds by the index of a filter, or the whole table where several fields are ordered by. */
function chooseHint({ table, clauses }: Selection, { driver, order }: DriverRowQuery): SQL {
  const [first, second] = order
  if (driver !== undefined || !first) return sql``
  if (!second) return clauses.some(({ isOrderedById: byId }) => byId) ? sql`` : sql` not indexed`
  const index = findIndex(table, first.name)
  return index ? sql` indexed by ${sql.identifier(index)}` : sql``
}

/** The index to walk along in the order of a column. */
export function findIndex(table: SQLiteTable, column: string): string | undefined {
  const { indexes } = getTableConfig(table)
  return indexes.find(({ config: { columns, where } }) => !where && columns[0] && 'name' in columns[0] && columns[0].name === column)
    ?.config.name
}
