// Builds the conditions and the order of a list as SQL that both engines share.
import { type SQL, sql } from 'drizzle-orm'
import { type Clause, type Guard, listTables, type Selection } from './selection.ts'

/** A key of an order, as SQL. */
export interface OrderKey {
  name: string
  column: SQL
  nullable: boolean
  descending: boolean
}

/** Builds the placeholder of the value at an index. */
export type Placeholders = (index: number) => SQL

/** Versions only grow, so their sum does not repeat. After a backup is restored it may, and then the nonces differ. */
const STATE = sql`sum(version) || '.' || sum(nonce)`

const quoteText = (table: string) => sql.raw(`'${table}'`)

const matchTables = (tables: readonly string[]) =>
  tables.length === 1 ? sql`name = ${quoteText(tables[0] ?? '')}` : sql`name in (${sql.join(tables.map(quoteText), sql`, `)})`

/** Builds a subquery for the state of tables, the text that `Database.readState` returns. */
export const selectState = (tables: readonly string[]): SQL => sql`(select ${STATE} from stockroom_counters where ${matchTables(tables)})`

/** Builds a subquery for the head of a list: the state of the tables that decide which rows match, and the row count of its table. */
export function selectHead(selection: Selection): SQL {
  const tables = listTables(selection)
  const rows = tables.length === 1 ? sql`sum(row_count)` : sql`sum(case name when ${quoteText(selection.name)} then row_count else 0 end)`
  return sql`(select ${STATE} || ' ' || ${rows} from stockroom_counters where ${matchTables(tables)})`
}

/** Builds the conditions of all clauses but `except`. `byRow` chooses the clauses that are looked up row by row. */
export function buildChecks({ clauses }: Selection, value: Placeholders, except?: number, byRow?: (clause: Clause) => boolean): SQL[] {
  let next = 0
  return clauses.flatMap((clause, index) => {
    const values = clause.values.map(() => value(next++))
    return index === except ? [] : [clause.lookUp && byRow?.(clause) ? clause.lookUp(...values) : clause.check(...values)]
  })
}

/** Builds the query for the ids of the rows that match the clause at `index`. */
export function buildIdQuery({ table, clauses }: Selection, value: Placeholders, index: number, guard: Guard): SQL {
  const first = clauses.slice(0, index).reduce((sum, { values }) => sum + values.length, 0)
  const clause = clauses[index] as Clause
  const values = clause.values.map((_, place) => value(first + place))
  return (
    clause.selectIds?.(guard, ...values) ??
    sql`select ${table.id} as id from ${table} where ${joinAnd([guard(table.id), clause.check(...values)])}`
  )
}

/** Joins conditions by AND. Returns TRUE for none. */
export const joinAnd = (conditions: readonly SQL[]): SQL => (conditions.length === 0 ? sql`true` : sql.join([...conditions], sql` and `))

/** Puts NULLs first, and last when descending. Only nullable columns say so, because PostgreSQL's indexes on the others would not match. */
export function buildOrderBy(order: readonly OrderKey[]): SQL {
  const keys = order.map(({ column, nullable, descending }) => {
    if (!nullable) return descending ? sql`${column} desc` : sql`${column} asc`
    return descending ? sql`${column} desc nulls last` : sql`${column} asc nulls first`
  })
  return sql`order by ${sql.join(keys, sql`, `)}`
}

/** Builds the keys of a selection's order. */
export const buildOrderKeys = ({ order }: Selection): OrderKey[] =>
  order.map(({ column, descending }) => ({
    name: column.name,
    column: sql`${column}`,
    nullable: !column.notNull && !column.primary,
    descending,
  }))

/** Returns whether one index serves the order: it has at most one key before the id, and both have the same direction. */
export const canWalkIndex = (order: readonly OrderKey[]): boolean =>
  order.length === 1 || (order.length === 2 && order[0]?.descending === order[1]?.descending)

export const reverseOrder = (order: readonly OrderKey[]): OrderKey[] => order.map((key) => ({ ...key, descending: !key.descending }))

/**
 * Builds the conditions on the rows after a given row in `order`. Each condition is one range of the first key's index, and the ranges
 * follow each other. `keys` are the values of the given row, `value` their placeholders. `splitEqual` gives the rows with an equal first
 * key a range of their own. Without it SQLite visits all of them; PostgreSQL starts at the row itself, and plans one range better than two.
 */
export function buildRangesAfter(
  order: readonly OrderKey[],
  keys: readonly unknown[],
  value: Placeholders,
  inclusive: boolean,
  splitEqual: boolean,
): SQL[] {
  const [first, second] = order
  const one = value(0)
  if (!first) return []
  if (!second) return [sql`${first.column} ${buildOperator(first, inclusive)} ${one}`]
  const rest = buildConditionAfter(order.slice(1), keys.slice(1), (index) => value(index + 1), inclusive)
  const { column, nullable, descending } = first
  if (keys[0] === null) return [sql`${column} is null and (${rest})`, ...(descending ? [] : [sql`${column} is not null`])]
  const ranges = splitEqual
    ? [sql`${column} = ${one} and (${rest})`, sql`${column} ${buildOperator(first, false)} ${one}`]
    : canWalkIndex(order)
      ? [sql`(${column}, ${second.column}) ${buildOperator(first, inclusive)} (${one}, ${value(1)})`]
      : [sql`${column} ${buildOperator(first, true)} ${one} and (${column} ${buildOperator(first, false)} ${one} or (${rest}))`]
  return [...ranges, ...(descending && nullable ? [sql`${column} is null`] : [])]
}

/** Builds one condition on the rows after a given row, for the keys behind the first. */
function buildConditionAfter(order: readonly OrderKey[], keys: readonly unknown[], value: Placeholders, inclusive: boolean): SQL {
  const [first, ...others] = order as [OrderKey, ...OrderKey[]]
  const { column, nullable, descending } = first
  const one = value(0)
  if (others.length === 0) return sql`${column} ${buildOperator(first, inclusive)} ${one}`
  const rest = buildConditionAfter(others, keys.slice(1), (index) => value(index + 1), inclusive)
  if (keys[0] === null) return descending ? sql`${column} is null and (${rest})` : sql`${column} is not null or (${rest})`
  const nulls = descending && nullable ? sql` or ${column} is null` : sql``
  return sql`${column} ${buildOperator(first, false)} ${one} or (${column} = ${one} and (${rest}))${nulls}`
}

const buildOperator = ({ descending }: OrderKey, inclusive: boolean) => sql.raw(`${descending ? '<' : '>'}${inclusive ? '=' : ''}`)
