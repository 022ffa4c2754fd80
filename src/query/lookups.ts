// The table of lookups: the values, meaning, SQL and indexes of each. To add a lookup, change only this table.
import { type SQL, sql } from 'drizzle-orm'
import { type Column, columnsByName, type Database } from '../../drizzle/database.ts'
import { matchPrefix, matchText } from '../../drizzle/search.ts'
import type { Clause, Guard } from '../../drizzle/selection.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import { type Codec, type Kind, type Meta, textCodec } from './fields.ts'
import { termCodec } from './search.ts'
import { above, atLeast, atMost, below, equal, type UnitRange, type UnitValue } from './values.ts'

/** The field that a lookup is applied to. */
interface LookupTarget {
  db: Database
  table: ServedName
  field: string
  meta: Meta
}

/** Value of a filter: text, a number or time, or a boolean. */
export type FilterValue = string | UnitValue | boolean

export interface Lookup {
  /** The kinds of field that can have the lookup. */
  kinds: readonly Kind[]
  /** `pair` and `list` are comma-separated; `flag` is true or false. */
  takes: 'value' | 'pair' | 'list' | 'flag'
  meaning: string
  /** Codec of the values. The default is that of the field. */
  codec?: Codec<string>
  /** The index on the case-folded text that the lookup uses: of the whole text, or of its trigrams. */
  foldedIndex?: 'whole' | 'trigrams'
  /** The column that the lookup reads in the table that the field refers to. */
  targetColumn?: string
  clause(target: LookupTarget, values: readonly FilterValue[]): Clause
  /** Condition of the negated lookup, if an index finds its rows. */
  not?(target: LookupTarget, values: readonly FilterValue[]): Clause
}

const ANY = ['text', 'boolean', 'integer', 'decimal', 'time', 'reference'] as const
const ORDERED = ['integer', 'decimal', 'time'] as const

export const lookups = {
  exact: {
    kinds: ANY,
    takes: 'value',
    meaning: 'equals the value',
    clause: (target, [value]) => buildComparison(target, sql`=`, toData(target, value)),
  },
  gt: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is greater than the value',
    clause: (target, [value]) => buildComparison(target, sql`>=`, above(...toPoint(target, value))),
    not: (target, [value]) => includeNull(target, buildComparison(target, sql`<=`, atMost(...toPoint(target, value)))),
  },
  gte: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is greater than the value or equals it',
    clause: (target, [value]) => buildComparison(target, sql`>=`, atLeast(...toPoint(target, value))),
    not: (target, [value]) => includeNull(target, buildComparison(target, sql`<=`, below(...toPoint(target, value)))),
  },
  lt: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is less than the value',
    clause: (target, [value]) => buildComparison(target, sql`<=`, below(...toPoint(target, value))),
    not: (target, [value]) => includeNull(target, buildComparison(target, sql`>=`, atLeast(...toPoint(target, value)))),
  },
  lte: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is less than the value or equals it',
    clause: (target, [value]) => buildComparison(target, sql`<=`, atMost(...toPoint(target, value))),
    not: (target, [value]) => includeNull(target, buildComparison(target, sql`>=`, above(...toPoint(target, value)))),
  },
  range: {
    kinds: ORDERED,
    takes: 'pair',
    meaning: 'lies between the two values or is one of them',
    clause: (target, [from, to]) => {
      const column = findColumn(target)
      return {
        values: [atLeast(...toPoint(target, from)), atMost(...toPoint(target, to))].map((data) => column.mapToDriverValue(data)),
        // Not BETWEEN: SQLite would then use its bounds in the index instead of those of the cursor.
        check: (from, to) => sql`${column} >= ${from} and ${column} <= ${to}`,
      }
    },
  },
  in: {
    kinds: ANY,
    takes: 'list',
    meaning: 'equals one of the values',
    clause: (target, values) =>
      target.db.dialect.matchAny(
        findColumn(target),
        values.map((value) => toData(target, value)),
      ),
  },
  isnull: {
    kinds: ANY,
    takes: 'flag',
    meaning: 'has no value (`true`), or has one (`false`)',
    clause: (target, [flag]) => buildNullCheck(target, Boolean(flag)),
    not: (target, [flag]) => buildNullCheck(target, !flag),
  },
  iexact: {
    kinds: ['text'],
    takes: 'value',
    meaning: 'equals the text, in any case',
    foldedIndex: 'whole',
    clause: (target, [value]) => matchText(target.table, getIdColumn(target), target.field, String(value)),
  },
  icontains: {
    kinds: ['text'],
    takes: 'value',
    meaning: 'contains the text, in any case',
    codec: termCodec,
    foldedIndex: 'trigrams',
    clause: (target, [value]) => target.db.dialect.contains(target.table, getIdColumn(target), [target.field], [String(value)]),
  },
  istartswith: {
    kinds: ['text'],
    takes: 'value',
    meaning: 'begins with the text, in any case',
    foldedIndex: 'whole',
    clause: (target, [value]) => matchPrefix(target.table, getIdColumn(target), target.field, String(value)),
  },
  slug: {
    kinds: ['reference'],
    takes: 'value',
    meaning: 'names the record with this slug',
    codec: textCodec,
    targetColumn: 'slug',
    clause: (target, [value]) => ({
      values: [value],
      readsTable: getTargetName(target),
      // Not IN: `=` tells the planner that there is at most one, so that it uses the index.
      check: (slug) => sql`${findColumn(target)} = (select id from ${getTargetTable(target)} where slug = ${slug})`,
    }),
  },
  under: {
    kinds: ['reference'],
    takes: 'value',
    meaning: 'names the record with this id, or one below it',
    targetColumn: 'parent',
    clause: (target, [value]) => ({
      values: [toData(target, value)],
      readsTable: getTargetName(target),
      check: (id) =>
        target.db.dialect.matchSubquery(
          findColumn(target),
          sql`with recursive below (id) as (select id from ${getTargetTable(target)} where id = ${id}
          union select child.id from ${getTargetTable(target)} child join below on child.parent = below.id)
        select id from below`,
        ),
    }),
  },
} as const satisfies Record<string, Lookup>

export type LookupName = keyof typeof lookups

export const findLookup = (name: string): Lookup | undefined => (Object.hasOwn(lookups, name) ? lookups[name as LookupName] : undefined)

/** Names of the lookups that a field of kind `K` can have. */
export type LookupFor<K extends Kind> = { [L in LookupName]: K extends (typeof lookups)[L]['kinds'][number] ? L : never }[LookupName]

/** All lookups of numbers and times, of texts, and of references within a tree, for use in declarations. */
export const numeric = ['exact', 'gt', 'gte', 'lt', 'lte', 'range', 'in', 'isnull'] as const
export const textual = ['exact', 'iexact', 'icontains', 'istartswith', 'in', 'isnull'] as const
export const tree = ['exact', 'in', 'isnull', 'slug', 'under'] as const

function findColumn({ db, table, field }: LookupTarget): Column {
  const column = columnsByName(db.tables[table])[field]
  if (!column) throw new TypeError(`${table} has no column ${field}`)
  return column
}

/** Compares a column with `data`, a value of a row. Binds it as the column stores it. */
function buildComparison(target: LookupTarget, operator: SQL, data: unknown): Clause {
  const column = findColumn(target)
  return { values: [column.mapToDriverValue(data)], check: (bound) => sql`${column} ${operator} ${bound}` }
}

/** Adds the rows with NULL to a negated comparison: the comparison itself never selects them. */
function includeNull(target: LookupTarget, clause: Clause): Clause {
  const column = findColumn(target)
  if (column.notNull || column.primary) return clause
  const ids = (guard: Guard, condition: SQL) =>
    sql`select ${getIdColumn(target)} as id from ${target.db.tables[target.table]} where ${guard(getIdColumn(target))} and ${condition}`
  return {
    values: clause.values,
    check: (...values) => sql`(${clause.check(...values)} or ${column} is null)`,
    selectIds: (guard, ...values) => sql`${ids(guard, clause.check(...values))} union all ${ids(guard, sql`${column} is null`)}`,
  }
}

function buildNullCheck(target: LookupTarget, flag: boolean): Clause {
  const column = findColumn(target)
  return { variant: String(flag), values: [], check: () => (flag ? sql`${column} is null` : sql`${column} is not null`) }
}

const getIdColumn = ({ db, table }: LookupTarget): Column => db.tables[table].id

/** Returns the name of the table that a reference field refers to. */
function getTargetName({ meta: { target } }: LookupTarget): ServedName {
  if (!target) throw new TypeError('the field refers to no table')
  return target
}

const getTargetTable = (target: LookupTarget) => target.db.tables[getTargetName(target)]

/** Converts a filter value to the value in a row. For an inexact number it returns a value that no row has. */
const toData = (target: LookupTarget, value: FilterValue | undefined) =>
  typeof value === 'object' ? equal(...toPoint(target, value)) : value

function toPoint({ meta: { range: line }, field }: LookupTarget, value: FilterValue | undefined): [UnitRange, UnitValue] {
  if (!line || typeof value !== 'object') throw new TypeError(`${field} has no order`)
  return [line, value]
}
