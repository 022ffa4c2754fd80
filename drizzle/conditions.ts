// The conditions and the order of a list as SQL that both engines have in common.
import { type SQL, sql } from 'drizzle-orm'
import { type Clause, type Guard, type Selection, tablesOf } from './selection.ts'

/** A key of an order, as SQL. */
export interface OrderKey {
  name: string
  column: SQL
  nullable: boolean
  descending: boolean
}

/** Statements are told apart by it, and so are the values in them. */
export type Placeholders = (index: number) => SQL

/** Versions only grow: their sum does not repeat, unless a backup is restored, after which the nonces differ. */
const STATE = sql`sum(version) || '.' || sum(nonce)`

const quoted = (table: string) => sql.raw(`'${table}'`)

const ofTables = (tables: readonly string[]) =>
  tables.length === 1 ? sql`name = ${quoted(tables[0] ?? '')}` : sql`name in (${sql.join(tables.map(quoted), sql`, `)})`

/** The state of tables, as `Database.state` gives it. */
export const stateOf = (tables: readonly string[]): SQL => sql`(select ${STATE} from stockroom_counters where ${ofTables(tables)})`

/** One text of the state of all tables that decide which rows match, and of the number of rows of the list's own. */
export function headOf(selection: Selection): SQL {
  const tables = tablesOf(selection)
  const rows = tables.length === 1 ? sql`sum(row_count)` : sql`sum(case name when ${quoted(selection.name)} then row_count else 0 end)`
  return sql`(select ${STATE} || ' ' || ${rows} from stockroom_counters where ${ofTables(tables)})`
}

/** What has to hold of a row, but for `except`. */
export function checksOf({ clauses }: Selection, value: Placeholders, except?: number, byRow?: (clause: Clause) => boolean): SQL[] {
  let next = 0
  return clauses.flatMap((clause, index) => {
    const values = clause.values.map(() => value(next++))
    return index === except ? [] : [clause.lookUp && byRow?.(clause) ? clause.lookUp(...values) : clause.check(...values)]
  })
}

/** The ids of the rows for which one clause holds. */
export function idsOf({ table, clauses }: Selection, value: Placeholders, index: number, guard: Guard): SQL {
  const first = clauses.slice(0, index).reduce((sum, { values }) => sum + values.length, 0)
  const clause = clauses[index] as Clause
  const values = clause.values.map((_, place) => value(first + place))
  return (
    clause.ids?.(guard, ...values) ?? sql`select ${table.id} as id from ${table} where ${and([guard(table.id), clause.check(...values)])}`
  )
}

export const and = (conditions: readonly SQL[]): SQL => (conditions.length === 0 ? sql`true` : sql.join([...conditions], sql` and `))

/** NULLs first, and last when descending, said only where there can be any: PostgreSQL's indexes on other columns do not know of it. */
export function orderBy(order: readonly OrderKey[]): SQL {
  const keys = order.map(({ column, nullable, descending }) => {
    if (!nullable) return descending ? sql`${column} desc` : sql`${column} asc`
    return descending ? sql`${column} desc nulls last` : sql`${column} asc nulls first`
  })
  return sql`order by ${sql.join(keys, sql`, `)}`
}

/** The keys of a selection's order. */
export const keysOf = ({ order }: Selection): OrderKey[] =>
  order.map(({ column, descending }) => ({
    name: column.name,
    column: sql`${column}`,
    nullable: !column.notNull && !column.primary,
    descending,
  }))

/** One index serves the order: that of its only key beside the id, walked in one direction. */
export const isWalk = (order: readonly OrderKey[]): boolean =>
  order.length === 1 || (order.length === 2 && order[0]?.descending === order[1]?.descending)

export const reversed = (order: readonly OrderKey[]): OrderKey[] => order.map((key) => ({ ...key, descending: !key.descending }))

/**
 * The rows that come after one in `order`, as conditions each of which is one range of the first key's index: all of the first
 * come before those of the second. `keys` are that row's values. `apart` gives the rows that are equal in the first key a range of
 * their own: SQLite looks at all of these otherwise, while PostgreSQL begins at the very row, and plans one range better than two.
 */
export function after(
  order: readonly OrderKey[],
  keys: readonly unknown[],
  value: Placeholders,
  inclusive: boolean,
  apart: boolean,
): SQL[] {
  const [first, second] = order
  const one = value(0)
  if (!first) return []
  if (!second) return [sql`${first.column} ${compare(first, inclusive)} ${one}`]
  const rest = follows(order.slice(1), keys.slice(1), (index) => value(index + 1), inclusive)
  const { column, nullable, descending } = first
  if (keys[0] === null) return [sql`${column} is null and (${rest})`, ...(descending ? [] : [sql`${column} is not null`])]
  const further = apart
    ? [sql`${column} = ${one} and (${rest})`, sql`${column} ${compare(first, false)} ${one}`]
    : isWalk(order)
      ? [sql`(${column}, ${second.column}) ${compare(first, inclusive)} (${one}, ${value(1)})`]
      : [sql`${column} ${compare(first, true)} ${one} and (${column} ${compare(first, false)} ${one} or (${rest}))`]
  return [...further, ...(descending && nullable ? [sql`${column} is null`] : [])]
}

/** The same as one condition, for the keys behind the first. */
function follows(order: readonly OrderKey[], keys: readonly unknown[], value: Placeholders, inclusive: boolean): SQL {
  const [first, ...others] = order as [OrderKey, ...OrderKey[]]
  const { column, nullable, descending } = first
  const one = value(0)
  if (others.length === 0) return sql`${column} ${compare(first, inclusive)} ${one}`
  const rest = follows(others, keys.slice(1), (index) => value(index + 1), inclusive)
  if (keys[0] === null) return descending ? sql`${column} is null and (${rest})` : sql`${column} is not null or (${rest})`
  const nulls = descending && nullable ? sql` or ${column} is null` : sql``
  return sql`${column} ${compare(first, false)} ${one} or (${column} = ${one} and (${rest}))${nulls}`
}

const compare = ({ descending }: OrderKey, inclusive: boolean) => sql.raw(`${descending ? '<' : '>'}${inclusive ? '=' : ''}`)
