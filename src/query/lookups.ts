// The table of lookups: for each what it takes, what it means and the SQL that it becomes. A lookup is added here and nowhere else.
import { type SQL, sql } from 'drizzle-orm'
import { type Column, columnsByName, type Database } from '../../drizzle/database.ts'
import { matchPrefix, matchText } from '../../drizzle/search.ts'
import type { Clause, Guard } from '../../drizzle/selection.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import { type Codec, type Kind, type Meta, textCodec } from './fields.ts'
import { termCodec } from './search.ts'
import { above, atLeast, atMost, below, equal, type Line, type Point } from './values.ts'

/** A field, and the database that is asked. */
export interface Target {
  db: Database
  table: ServedName
  field: string
  meta: Meta
}

/** What a value of a parameter was read into: text, a number or time, or for `flag` a boolean. */
export type Value = string | Point | boolean

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
  clause(target: Target, values: readonly Value[]): Clause
  /** The rows that it leaves out, where an index leads to those. */
  not?(target: Target, values: readonly Value[]): Clause
}

const ANY = ['text', 'boolean', 'integer', 'decimal', 'time', 'reference'] as const
const ORDERED = ['integer', 'decimal', 'time'] as const

export const lookups = {
  exact: {
    kinds: ANY,
    takes: 'value',
    meaning: 'equals the value',
    clause: (target, [value]) => compare(target, sql`=`, dataOf(target, value)),
  },
  gt: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is greater than the value',
    clause: (target, [value]) => compare(target, sql`>=`, above(...pointOf(target, value))),
    not: (target, [value]) => orNull(target, compare(target, sql`<=`, atMost(...pointOf(target, value)))),
  },
  gte: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is greater than the value or equals it',
    clause: (target, [value]) => compare(target, sql`>=`, atLeast(...pointOf(target, value))),
    not: (target, [value]) => orNull(target, compare(target, sql`<=`, below(...pointOf(target, value)))),
  },
  lt: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is less than the value',
    clause: (target, [value]) => compare(target, sql`<=`, below(...pointOf(target, value))),
    not: (target, [value]) => orNull(target, compare(target, sql`>=`, atLeast(...pointOf(target, value)))),
  },
  lte: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is less than the value or equals it',
    clause: (target, [value]) => compare(target, sql`<=`, atMost(...pointOf(target, value))),
    not: (target, [value]) => orNull(target, compare(target, sql`>=`, above(...pointOf(target, value)))),
  },
  range: {
    kinds: ORDERED,
    takes: 'pair',
    meaning: 'lies between the two values or is one of them',
    clause: (target, [from, to]) => {
      const column = columnOf(target)
      return {
        values: [atLeast(...pointOf(target, from)), atMost(...pointOf(target, to))].map((data) => column.mapToDriverValue(data)),
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
        columnOf(target),
        values.map((value) => dataOf(target, value)),
      ),
  },
  isnull: {
    kinds: ANY,
    takes: 'flag',
    meaning: 'has no value (`true`), or has one (`false`)',
    clause: (target, [flag]) => isNull(target, Boolean(flag)),
    not: (target, [flag]) => isNull(target, !flag),
  },
  iexact: {
    kinds: ['text'],
    takes: 'value',
    meaning: 'equals the text, in any case',
    foldedIndex: 'whole',
    clause: (target, [value]) => matchText(target.table, idOf(target), target.field, String(value)),
  },
  icontains: {
    kinds: ['text'],
    takes: 'value',
    meaning: 'contains the text, in any case',
    codec: termCodec,
    foldedIndex: 'trigrams',
    clause: (target, [value]) => target.db.dialect.contains(target.table, idOf(target), [target.field], [String(value)]),
  },
  istartswith: {
    kinds: ['text'],
    takes: 'value',
    meaning: 'begins with the text, in any case',
    foldedIndex: 'whole',
    clause: (target, [value]) => matchPrefix(target.table, idOf(target), target.field, String(value)),
  },
  slug: {
    kinds: ['reference'],
    takes: 'value',
    meaning: 'names the record with this slug',
    codec: textCodec,
    targetColumn: 'slug',
    clause: (target, [value]) => ({
      values: [value],
      readsTable: tableOf(target),
      // Not by IN: that there is one at most is worth an index.
      check: (slug) => sql`${columnOf(target)} = (select id from ${referredBy(target)} where slug = ${slug})`,
    }),
  },
  under: {
    kinds: ['reference'],
    takes: 'value',
    meaning: 'names the record with this id, or one below it',
    targetColumn: 'parent',
    clause: (target, [value]) => ({
      values: [dataOf(target, value)],
      readsTable: tableOf(target),
      check: (id) =>
        target.db.dialect.matchSubquery(
          columnOf(target),
          sql`with recursive below (id) as (select id from ${referredBy(target)} where id = ${id}
          union select child.id from ${referredBy(target)} child join below on child.parent = below.id)
        select id from below`,
        ),
    }),
  },
} as const satisfies Record<string, Lookup>

export type LookupName = keyof typeof lookups

export const findLookup = (name: string): Lookup | undefined => (Object.hasOwn(lookups, name) ? lookups[name as LookupName] : undefined)

/** The lookups that a field of kind `K` can have. */
export type LookupOf<K extends Kind> = { [L in LookupName]: K extends (typeof lookups)[L]['kinds'][number] ? L : never }[LookupName]

/** All lookups of a kind, for a declaration that offers them all. */
export const numeric = ['exact', 'gt', 'gte', 'lt', 'lte', 'range', 'in', 'isnull'] as const
export const textual = ['exact', 'iexact', 'icontains', 'istartswith', 'in', 'isnull'] as const
export const tree = ['exact', 'in', 'isnull', 'slug', 'under'] as const

function columnOf({ db, table, field }: Target): Column {
  const column = columnsByName(db.tables[table])[field]
  if (!column) throw new TypeError(`${table} has no column ${field}`)
  return column
}

/** `data` is a row's, and bound as the column stores it. */
function compare(target: Target, operator: SQL, data: unknown): Clause {
  const column = columnOf(target)
  return { values: [column.mapToDriverValue(data)], check: (bound) => sql`${column} ${operator} ${bound}` }
}

/** A comparison leaves rows without a value out, and so its opposite has them. */
function orNull(target: Target, clause: Clause): Clause {
  const column = columnOf(target)
  if (column.notNull || column.primary) return clause
  const ids = (guard: Guard, condition: SQL) =>
    sql`select ${idOf(target)} as id from ${target.db.tables[target.table]} where ${guard(idOf(target))} and ${condition}`
  return {
    values: clause.values,
    check: (...values) => sql`(${clause.check(...values)} or ${column} is null)`,
    selectIds: (guard, ...values) => sql`${ids(guard, clause.check(...values))} union all ${ids(guard, sql`${column} is null`)}`,
  }
}

function isNull(target: Target, flag: boolean): Clause {
  const column = columnOf(target)
  return { variant: String(flag), values: [], check: () => (flag ? sql`${column} is null` : sql`${column} is not null`) }
}

const idOf = ({ db, table }: Target): Column => db.tables[table].id

/** The table that a reference is to. */
function tableOf({ meta: { target } }: Target): ServedName {
  if (!target) throw new TypeError('the field refers to no table')
  return target
}

const referredBy = (target: Target) => target.db.tables[tableOf(target)]

/** What to compare with: for a point that no row can lie on, data that no row has. */
const dataOf = (target: Target, value: Value | undefined) => (typeof value === 'object' ? equal(...pointOf(target, value)) : value)

function pointOf({ meta: { line }, field }: Target, value: Value | undefined): [Line, Point] {
  if (!line || typeof value !== 'object') throw new TypeError(`${field} has no order`)
  return [line, value]
}
