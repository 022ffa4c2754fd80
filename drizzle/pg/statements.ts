// Builds the statements for the shape of a list on PostgreSQL. list.ts chooses among them by the number of matches.
import { type SQL, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import {
  buildChecks,
  buildOrderBy,
  buildOrderKeys,
  buildRangesAfter,
  joinAnd,
  type OrderKey,
  type Placeholders,
  reverseOrder,
  selectHead,
} from '../conditions.ts'
import { computeCountLimit, isFirstPage, MAX_SORTED, type Selection } from '../selection.ts'
import { placeholder, type Statement } from '../statement.ts'
import { compile } from './prepared.ts'

/**
 * Statements of a shape. `few` counts far enough to choose a plan, `count` to the limit. `walk` leaves the plan to PostgreSQL. `sort` makes it
 * find all matches first, although there is a LIMIT. `walkBack` and `sortBack` read from the other end.
 */
export interface Statements {
  head: Statement
  few: Statement
  count: Statement
  walk: Statement
  sort: Statement
  walkBack: Statement
  sortBack: Statement
  /** Tells whether the list has rows on the other side of the place. */
  others: Statement
}

export function buildStatements(selection: Selection): Statements {
  const { table, columns, clauses, place, size } = selection
  const order = buildOrderKeys(selection)
  const valueCount = clauses.reduce((sum, { values }) => sum + values.length, 0)
  const checks = buildChecks(selection, placeholder)
  const matching = sql`select 1 from ${table} where ${joinAnd(checks)}`
  const buildCount = (limit: number) =>
    sql`select count(*) from (${matching}${Number.isFinite(limit) ? sql.raw(` limit ${limit + 1}`) : sql``}) matching`
  // `offset 0` is a fence: order and limit do not influence how PostgreSQL finds the matches.
  const sources = {
    // Look unindexed clauses up row by row, or PostgreSQL would find all their rows before the first. In the order of the ids, look all of
    // them up: PostgreSQL would walk along the ids of the search texts, and not see that they must lie beyond the place too.
    walk: {
      from: sql`${table}`,
      checks: buildChecks(selection, placeholder, undefined, ({ isUnindexed }) => isUnindexed || order.length === 1),
    },
    sort: { from: sql`(select * from ${table} where ${joinAnd(checks)} offset 0) ${table}`, checks: [] },
  }
  const head = selectHead(selection)
  const key: Placeholders = (index) => placeholder(valueCount + index)
  const buildOthers = (source: keyof typeof sources): SQL => {
    if ('page' in place) return sql`false`
    const keys = place.backward ? order : reverseOrder(order)
    const ranges = buildRangesAfter(keys, place.beside, key, !place.inclusive, false)
    // EXISTS would ignore the order, and with it the index.
    return sql`(${buildRowQuery({ ...sources[source], output: [sql`true`], order: keys, ranges, limit: 1 })}) is not null`
  }
  const select = (source: keyof typeof sources, back: boolean) => {
    const output = [...columns, ...('beside' in place ? [buildOthers(source)] : []), head]
    if ('page' in place) {
      const keys = back ? reverseOrder(order) : order
      const offset = isFirstPage(place) ? {} : { offset: placeholder(valueCount) }
      return buildRowQuery({ ...sources[source], output, order: keys, ranges: [], limit: back ? size : size + 1, ...offset })
    }
    const keys = place.backward ? reverseOrder(order) : order
    return buildRowQuery({
      ...sources[source],
      output,
      order: keys,
      ranges: buildRangesAfter(keys, place.beside, key, place.inclusive, false),
      limit: size + 1,
    })
  }
  return {
    head: compile(sql`select ${head}`),
    few: compile(buildCount(MAX_SORTED)),
    count: compile(buildCount(computeCountLimit(selection))),
    walk: compile(select('walk', false)),
    sort: compile(select('sort', false)),
    walkBack: compile(select('walk', true)),
    sortBack: compile(select('sort', true)),
    others: compile(sql`select ${buildOthers('walk')}`),
  }
}

/** The parts of a query for rows. */
interface RowQuery {
  from: SQL
  checks: readonly SQL[]
  output: readonly (SQL | SQLiteColumn)[]
  order: readonly OrderKey[]
  /** Conditions on the keys of the order. Their ranges follow each other. */
  ranges: readonly SQL[]
  limit: number
  offset?: SQL
}

function buildRowQuery({ from, checks, output, order, ranges, limit, offset }: RowQuery): SQL {
  const stop = sql`limit ${sql.raw(String(limit))}${offset ? sql` offset ${offset}` : sql``}`
  const all = sql.join([...output], sql`, `)
  const select = (range: readonly SQL[]) =>
    sql`select ${all} from ${from} where ${joinAnd([...checks, ...range])} ${buildOrderBy(order)} ${stop}`
  if (ranges.length < 2) return select(ranges)
  const parts = ranges.map((range) => sql`(${select([range])})`)
  return sql`${sql.join(parts, sql` union all `)} ${stop}`
}
