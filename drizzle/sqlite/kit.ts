// SQLite's columns. The PostgreSQL kit exports the same names; `defineTables` is written once over either.
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

/** A primary key that is never given out twice, not after a delete either. */
export const id = () => sqliteInteger().primaryKey({ autoIncrement: true })

export const integer = () => sqliteInteger()

export const boolean = () => sqliteInteger({ mode: 'boolean' })

/** Text that compares by code point. */
export const text = () => sqliteText()

/** The id of another row, which cannot be deleted while this one names it. */
export const reference = (target: () => AnySQLiteColumn) => sqliteInteger().references(target, { onDelete: 'restrict' })

/** Exact decimal text outside (`"29.90"`), whole minor units inside (`2990`). */
export const decimal = (scale: number) => {
  const toDriver = (text: string) => toUnits(text, scale)
  const column = customType<{ data: string; driverData: number }>({
    dataType: () => 'integer',
    toDriver,
    fromDriver: (units) => fromUnits(units, scale),
  })
  return encodeDefault(column(), toDriver)
}

/** RFC 3339 text in UTC outside (`"2026-01-31T12:00:00.000Z"`), milliseconds since 1970 inside. */
export const time = () => encodeDefault(timeColumn(), Date.parse)

const timeColumn = customType<{ data: string; driverData: number }>({
  dataType: () => 'integer',
  toDriver: (text) => Date.parse(text),
  fromDriver: formatMilliseconds,
})

/** A value as its JSON. */
export const json = <T>() => {
  const toDriver = (value: T) => JSON.stringify(value)
  const column = customType<{ data: T; driverData: string }>({ dataType: () => 'text', toDriver, fromDriver: (text) => JSON.parse(text) })
  return encodeDefault(column(), toDriver)
}

/** An index that can be walked in the order of a list, NULLs first. */
export const index = (name: string, ...columns: [AnySQLiteColumn, ...AnySQLiteColumn[]]) => sqliteIndex(name).on(...columns)

export const uniqueIndex = (name: string, ...columns: [AnySQLiteColumn, ...AnySQLiteColumn[]]) => sqliteUniqueIndex(name).on(...columns)

/** What a row of an ordered log has beside its id. Here nothing: transactions run in turn, so ids are in the order of their commits. */
export const transactionId = () => ({})

/** The indexes by which such a log is read in its order. */
export const logIndexes = (_name: string, _columns: object): ReturnType<typeof index>[] => []
