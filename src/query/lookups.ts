// The table of lookups: for each what it takes, what it means and the SQL that it becomes. A lookup is added here and nowhere else.
import { type SQL, sql } from 'drizzle-orm'
import { type Column, columnsByName, type Database } from '../../drizzle/database.ts'
import { matchPrefix, matchText } from '../../drizzle/search.ts'
import type { Clause, Guard } from '../../drizzle/selection.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import { type Codec, type Kind, type Meta, textCodec } from './fields.ts'
import { termCodec } from './search.ts'
import { above, atLeast, atMost, below, equal, type UnitRange, type UnitValue } from './values.ts'

/** A field, and the database that is asked. */
interface LookupTarget {
  db: Database
  table: ServedName
  field: string
  meta: Meta
}

/** What a value of a parameter was read into: text, a number or time, or for `flag` a boolean. */
export type FilterValue = string | UnitValue | boolean

export interface Lookup {
  /** The kinds of field that it can be declared on. */
  kinds: readonly Kind[]
  /** `pair` and `list` are separated by commas; `flag` is true or false. */
  takes: 'value' | 'pair' | 'list' | 'flag'
  meaning: string
  /** How its values are read, where not as the field's own are. */
  codec?: Codec<string>
  /** The index that it needs on the case-folded text of its field: of the whole text, or of its trigrams. */
  foldedIndex?: 'whole' | 'trigrams'
  /** The column that it reads in the table that the field refers to. */
  targetColumn?: string
  clause(target: LookupTarget, values: readonly FilterValue[]): Clause
  /** The rows that it leaves out, where an index leads to those. */
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
        // Not by BETWEEN, whose bounds SQLite would prefer to those of the place at which a page begins.
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
      // Not by IN: that there is one at most is worth an index.
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

/** The lookups that a field of kind `K` can have. */
export type LookupFor<K extends Kind> = { [L in LookupName]: K extends (typeof lookups)[L]['kinds'][number] ? L : never }[LookupName]

/** All lookups of a kind, for a declaration that offers them all. */
export const numeric = ['exact', 'gt', 'gte', 'lt', 'lte', 'range', 'in', 'isnull'] as const
export const textual = ['exact', 'iexact', 'icontains', 'istartswith', 'in', 'isnull'] as const
export const tree = ['exact', 'in', 'isnull', 'slug', 'under'] as const

function findColumn({ db, table, field }: LookupTarget): Column {
  const column = columnsByName(db.tables[table])[field]
  if (!column) throw new TypeError(`${table} has no column ${field}`)
  return column
}

/** `data` is a row's, and bound as the column stores it. */
function buildComparison(target: LookupTarget, operator: SQL, data: unknown): Clause {
  const column = findColumn(target)
  return { values: [column.mapToDriverValue(data)], check: (bound) => sql`${column} ${operator} ${bound}` }
}

/** A comparison leaves rows without a value out, and so its opposite has them. */
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

/** The table that a reference is to. */
function getTargetName({ meta: { target } }: LookupTarget): ServedName {
  if (!target) throw new TypeError('the field refers to no table')
  return target
}

const getTargetTable = (target: LookupTarget) => target.db.tables[getTargetName(target)]

/** What to compare with: for a point that no row can lie on, data that no row has. */
const toData = (target: LookupTarget, value: FilterValue | undefined) =>
  typeof value === 'object' ? equal(...toPoint(target, value)) : value

function toPoint({ meta: { range: line }, field }: LookupTarget, value: FilterValue | undefined): [UnitRange, UnitValue] {
  if (!line || typeof value !== 'object') throw new TypeError(`${field} has no order`)
  return [line, value]
}
