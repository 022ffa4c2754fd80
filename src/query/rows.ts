// Converts rows of the driver to records of the contract.
import { Column as DrizzleColumn, type SQL, sql } from 'drizzle-orm'
import { selectState } from '../../drizzle/conditions.ts'
import { type Column, columnsByName, type Database } from '../../drizzle/database.ts'
import { cachePerDatabase } from '../../drizzle/per-database.ts'
import { placeholder } from '../../drizzle/statement.ts'
import type { Resource } from './resource.ts'

export type Row = Record<string, unknown> & { id: number }

/** The columns of a contract, in its order, and the conversion of rows with these columns. */
export interface Projection {
  columns: readonly Column[]
  /** Selects the row with an id. The statement takes the id as its only value. */
  selectById: SQL
  /** Selects the row with an id, with the state of the table as the last column. */
  selectByIdWithState: SQL
  /** Finds the place of a field among the columns. */
  findPlace(field: string): number
  /** Converts `raw`, which has a value for each column. */
  toRow(raw: readonly unknown[]): Row
}

export const getProjection = cachePerDatabase((db, resource: Resource): Projection => {
  const entries = Object.entries(getColumnsByField(db, resource))
  const places = new Map(entries.map(([field], place) => [field, place]))
  const fields = entries.map(([field, column]) => ({ field, decode: findDecoder(column) }))
  const columns = entries.map(([, column]) => column)
  const table = db.tables[resource.table]
  const byId = (shown: readonly (Column | SQL)[]) =>
    sql`select ${sql.join([...shown], sql`, `)} from ${table} where ${table.id} = ${placeholder(0)}`
  return {
    columns,
    selectById: byId(columns),
    selectByIdWithState: byId([...columns, selectState([resource.table])]),
    findPlace(field) {
      const place = places.get(field)
      if (place === undefined) throw new TypeError(`${resource.table} does not show ${field}`)
      return place
    },
    toRow(raw) {
      const row: Record<string, unknown> = {}
      let place = 0
      for (const { field, decode } of fields) {
        const value = raw[place++]
        row[field] = value === null || !decode ? value : decode(value)
      }
      return row as Row
    },
  }
})

/** Returns undefined for a column whose driver values need no conversion. */
function findDecoder(column: Column): ((value: unknown) => unknown) | undefined {
  return column.mapFromDriverValue === DrizzleColumn.prototype.mapFromDriverValue ? undefined : (value) => column.mapFromDriverValue(value)
}

/** Returns the columns of the contract by field. */
export function getColumnsByField(db: Database, { table, contract }: Resource): Record<string, Column> {
  const columns = columnsByName(db.tables[table])
  return Object.fromEntries(
    Object.keys(contract).map((field) => {
      const column = columns[field]
      if (!column) throw new TypeError(`${table} has no column ${field}`)
      return [field, column]
    }),
  )
}
