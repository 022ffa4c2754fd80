// The table of lookups: for each what it takes, what it means and the SQL that it becomes. A lookup is added here and nowhere else.
import { and, eq, getTableColumns, gte, isNotNull, isNull, lte, type SQL, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database } from '../../drizzle/database.ts'
import { equals, startsWith } from '../../drizzle/search.ts'
import type { Tables } from '../../drizzle/tables.ts'
import { type Codec, type Kind, type Meta, textCodec } from './fields.ts'
import { termCodec } from './search.ts'
import { above, atLeast, atMost, below, equal, type Line, type Point } from './values.ts'

/** A field, and the database that is asked. */
export interface Target {
  db: Database
  table: keyof Tables
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
  where(target: Target, values: readonly Value[]): SQL | undefined
}

const ANY = ['text', 'boolean', 'integer', 'decimal', 'time', 'reference'] as const
const ORDERED = ['integer', 'decimal', 'time'] as const

export const lookups = {
  exact: {
    kinds: ANY,
    takes: 'value',
    meaning: 'equals the value',
    where: (target, [value]) => eq(columnOf(target), dataOf(target, value)),
  },
  gt: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is greater than the value',
    where: (target, [value]) => gte(columnOf(target), above(...pointOf(target, value))),
  },
  gte: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is greater than the value or equals it',
    where: (target, [value]) => gte(columnOf(target), atLeast(...pointOf(target, value))),
  },
  lt: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is less than the value',
    where: (target, [value]) => lte(columnOf(target), below(...pointOf(target, value))),
  },
  lte: {
    kinds: ORDERED,
    takes: 'value',
    meaning: 'is less than the value or equals it',
    where: (target, [value]) => lte(columnOf(target), atMost(...pointOf(target, value))),
  },
  range: {
    kinds: ORDERED,
    takes: 'pair',
    meaning: 'lies between the two values or is one of them',
    where: (target, [from, to]) =>
      and(gte(columnOf(target), atLeast(...pointOf(target, from))), lte(columnOf(target), atMost(...pointOf(target, to)))),
  },
  in: {
    kinds: ANY,
    takes: 'list',
    meaning: 'equals one of the values',
    where: (target, values) =>
      target.db.dialect.anyOf(
        columnOf(target),
        values.map((value) => dataOf(target, value)),
      ),
  },
  isnull: {
    kinds: ANY,
    takes: 'flag',
    meaning: 'has no value (`true`), or has one (`false`)',
    where: (target, [flag]) => (flag ? isNull(columnOf(target)) : isNotNull(columnOf(target))),
  },
  iexact: {
    kinds: ['text'],
    takes: 'value',
    meaning: 'equals the text, in any case',
    where: (target, [value]) => equals(target.table, idOf(target), target.field, String(value)),
  },
  icontains: {
    kinds: ['text'],
    takes: 'value',
    meaning: 'contains the text, in any case',
    codec: termCodec,
    where: (target, [value]) => target.db.dialect.contains(target.table, idOf(target), [target.field], String(value)),
  },
  istartswith: {
    kinds: ['text'],
    takes: 'value',
    meaning: 'begins with the text, in any case',
    where: (target, [value]) => startsWith(target.table, idOf(target), target.field, String(value)),
  },
  slug: {
    kinds: ['reference'],
    takes: 'value',
    meaning: 'names the record with this slug',
    codec: textCodec,
    where: (target, [value]) => sql`${columnOf(target)} in (select id from ${referredBy(target)} where slug = ${value})`,
  },
  under: {
    kinds: ['reference'],
    takes: 'value',
    meaning: 'names the record with this id, or one below it',
    where: (target, [value]) => sql`${columnOf(target)} in (
      with recursive below (id) as (select id from ${referredBy(target)} where id = ${dataOf(target, value)}
        union select child.id from ${referredBy(target)} child join below on child.parent = below.id)
      select id from below)`,
  },
} as const satisfies Record<string, Lookup>

export type LookupName = keyof typeof lookups

/** The lookups that a field of kind `K` can have. */
export type LookupOf<K extends Kind> = { [L in LookupName]: K extends (typeof lookups)[L]['kinds'][number] ? L : never }[LookupName]

/** All lookups of a kind, for a declaration that offers them all. */
export const numeric = ['exact', 'gt', 'gte', 'lt', 'lte', 'range', 'in', 'isnull'] as const
export const textual = ['exact', 'iexact', 'icontains', 'istartswith', 'in', 'isnull'] as const
export const tree = ['exact', 'in', 'isnull', 'slug', 'under'] as const

function columnOf({ db, table, field }: Target): SQLiteColumn {
  const column = getTableColumns(db.tables[table])[field as never] as SQLiteColumn | undefined
  if (!column) throw new TypeError(`${table} has no column ${field}`)
  return column
}

const idOf = ({ db, table }: Target): SQLiteColumn => db.tables[table].id

function referredBy({ db, meta: { target } }: Target) {
  if (!target) throw new TypeError('the field refers to no table')
  return db.tables[target]
}

/** What to compare with: for a point that no row can lie on, data that no row has. */
const dataOf = (target: Target, value: Value | undefined) => (typeof value === 'object' ? equal(...pointOf(target, value)) : value)

function pointOf({ meta: { line }, field }: Target, value: Value | undefined): [Line, Point] {
  if (!line || typeof value !== 'object') throw new TypeError(`${field} has no order`)
  return [line, value]
}
