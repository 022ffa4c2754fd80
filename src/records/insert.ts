// The statement that inserts a record, compiled once.

import { type SQL, sql } from 'drizzle-orm'
import type { Column } from '../../drizzle/database.ts'
import { cachePerDatabase } from '../../drizzle/per-database.ts'
import { placeholder } from '../../drizzle/statement.ts'
import type { Resource } from '../query/resource.ts'
import { getColumnsByField } from '../query/rows.ts'

interface Insert {
  insert: SQL
  /** The fields whose values it takes, in this order. */
  columns: readonly [string, Column][]
}

/** Fields that the service sets itself on every record. */
export const STAMPS = ['created_at', 'updated_at', 'version']

/** The statement that makes a record. */
export const compileInsert = cachePerDatabase((db, resource: Resource): Insert => {
  const columns = Object.entries(getColumnsByField(db, resource))
  const inserted = columns.filter(([field]) => resource.writable.has(field) || field === resource.slug?.field || STAMPS.includes(field))
  const names = inserted.map(([, column]) => sql.identifier(column.name))
  const values = inserted.map((_, index) => placeholder(index))
  const shown = columns.map(([, column]) => column)
  const insert = sql`insert into ${db.tables[resource.table]} (${sql.join(names, sql`, `)}) values (${sql.join(values, sql`, `)}) returning ${sql.join(shown, sql`, `)}`
  return { insert, columns: inserted }
})
