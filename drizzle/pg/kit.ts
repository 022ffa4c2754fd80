// Defines PostgreSQL's columns under the names of SQLite's.
import { sql } from 'drizzle-orm'
import {
  type AnyPgColumn,
  bigint,
  customType,
  type ExtraConfigColumn,
  boolean as pgBoolean,
  index as pgIndex,
  pgTable,
  uniqueIndex as pgUniqueIndex,
} from 'drizzle-orm/pg-core'
import { fromUnits, toUnits } from '../decimal.ts'
import { encodeDefault } from '../defaults.ts'

export const table = pgTable

export const id = () => bigint({ mode: 'number' }).primaryKey().generatedByDefaultAsIdentity()

/** An integer of 64 bits, so that filters can compare values beyond those that the contract allows. */
export const integer = () => bigint({ mode: 'number' })

export const boolean = () => pgBoolean()

/** Text that compares by code point in every locale of the database, as in SQLite. */
export const text = customType<{ data: string }>({ dataType: () => 'text collate "C"' })

export const reference = (target: () => AnyPgColumn) => bigint({ mode: 'number' }).references(target, { onDelete: 'restrict' })

export const decimal = (scale: number) => {
  const toDriver = (text: string) => toUnits(text, scale)
  const column = customType<{ data: string; driverData: number | string }>({
    dataType: () => 'bigint',
    toDriver,
    fromDriver: (units) => fromUnits(units, scale),
  })
  return encodeDefault(column(), toDriver)
}

/** Range of times that all clients and both databases support. A filter's value beyond it is before or after every row. */
const EARLIEST = Date.parse('0001-01-01T00:00:00.000Z')
const LATEST = Date.parse('9999-12-31T23:59:59.999Z')

/** Lengths of the parts of a time. */
const DATE = 'YYYY-MM-DD'.length
const CLOCK = 'hh:mm:ss.mmm'.length
const OFFSET = '+00'.length

export const time = customType<{ data: string; driverData: string }>({
  dataType: () => 'timestamp (3) with time zone',
  toDriver: (text) => {
    const milliseconds = Date.parse(text)
    if (milliseconds < EARLIEST) return '-infinity'
    return milliseconds > LATEST ? 'infinity' : text
  },
  // The server writes `2026-01-31 12:00:00.5+00`, without trailing zeros.
  fromDriver: (text) => `${text.slice(0, DATE)}T${text.slice(DATE + 1, -OFFSET).padEnd(CLOCK, text.includes('.') ? '0' : '.000')}Z`,
})

export const json = <T>() => {
  const toDriver = (value: T) => JSON.stringify(value)
  const column = customType<{ data: T; driverData: string }>({
    dataType: () => 'text collate "C"',
    toDriver,
    fromDriver: (text) => JSON.parse(text),
  })
  return encodeDefault(column(), toDriver)
}

/** An index that puts NULLs first. NOT NULL columns do not say so, and serve every ORDER BY. */
export const index = (name: string, ...columns: ExtraConfigColumn[]) => {
  const [first, ...rest] = columns.map((column) => (column.notNull ? column : column.asc().nullsFirst()))
  if (!first) throw new TypeError(`index ${name} names no column`)
  return pgIndex(name).on(first, ...rest)
}

export const uniqueIndex = (name: string, ...columns: [AnyPgColumn, ...AnyPgColumn[]]) => pgUniqueIndex(name).on(...columns)

/**
 * The transaction of a log entry. A sequence assigns ids before their transactions commit, so a later id can become visible before an earlier
 * one. Readers of the log stop at the oldest transaction that is still running.
 */
export const transactionId = () => ({
  transaction: customType<{ data: string }>({ dataType: () => 'xid8' })()
    .notNull()
    .default(sql`pg_current_xact_id()`),
})

export const logIndexes = (name: string, { transaction, id }: Record<'transaction' | 'id', ExtraConfigColumn>) => [
  pgIndex(`${name}_in_order`).on(transaction, id),
]
