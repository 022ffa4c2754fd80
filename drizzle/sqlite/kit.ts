// Defines SQLite's columns. The PostgreSQL kit exports the same names, and `defineTables` works with both.
import {
  type AnySQLiteColumn,
  customType,
  index as sqliteIndex,
  integer as sqliteInteger,
  sqliteTable,
  text as sqliteText,
  uniqueIndex as sqliteUniqueIndex,
} from 'drizzle-orm/sqlite-core'
import { fromUnits, toUnits } from '../decimal.ts'
import { encodeDefault } from '../defaults.ts'
import { formatMilliseconds } from '../time.ts'

export const table = sqliteTable

/** A primary key that is never assigned twice, not even after a delete. */
export const id = () => sqliteInteger().primaryKey({ autoIncrement: true })

export const integer = () => sqliteInteger()

export const boolean = () => sqliteInteger({ mode: 'boolean' })

/** Text that compares by code point. */
export const text = () => sqliteText()

/** The id of another row, which cannot be deleted while this row refers to it. */
export const reference = (target: () => AnySQLiteColumn) => sqliteInteger().references(target, { onDelete: 'restrict' })

/** A decimal: exact text in rows (`"29.90"`), whole minor units in the database (`2990`). */
export const decimal = (scale: number) => {
  const toDriver = (text: string) => toUnits(text, scale)
  const column = customType<{ data: string; driverData: number }>({
    dataType: () => 'integer',
    toDriver,
    fromDriver: (units) => fromUnits(units, scale),
  })
  return encodeDefault(column(), toDriver)
}

/** A time: RFC 3339 text in UTC in rows (`"2026-01-31T12:00:00.000Z"`), milliseconds since 1970 in the database. */
export const time = () => encodeDefault(timeColumn(), Date.parse)

const timeColumn = customType<{ data: string; driverData: number }>({
  dataType: () => 'integer',
  toDriver: (text) => Date.parse(text),
  fromDriver: formatMilliseconds,
})

/** A value that is stored as JSON. */
export const json = <T>() => {
  const toDriver = (value: T) => JSON.stringify(value)
  const column = customType<{ data: T; driverData: string }>({ dataType: () => 'text', toDriver, fromDriver: (text) => JSON.parse(text) })
  return encodeDefault(column(), toDriver)
}

/** An index in the order of a list, NULLs first. */
export const index = (name: string, ...columns: [AnySQLiteColumn, ...AnySQLiteColumn[]]) => sqliteIndex(name).on(...columns)

export const uniqueIndex = (name: string, ...columns: [AnySQLiteColumn, ...AnySQLiteColumn[]]) => sqliteUniqueIndex(name).on(...columns)

/** Columns that order a log beside its id. SQLite needs none: transactions run one at a time, so ids follow the order of commits. */
export const transactionId = () => ({})

/** Indexes that serve the order of a log. */
export const logIndexes = (_name: string, _columns: object): ReturnType<typeof index>[] => []
