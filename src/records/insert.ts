// The statement that inserts a record.
import { type SQL, sql } from 'drizzle-orm'
import type { Column } from '../../drizzle/database.ts'
import { cachePerDatabase } from '../../drizzle/per-database.ts'
import { placeholder } from '../../drizzle/statement.ts'
import { type Resource, STAMPS } from '../query/resource.ts'
import { getColumnsByField } from '../query/rows.ts'

interface Insert {
  insert: SQL
  /** Fields and columns of the values that the statement takes, in order. */
  columns: readonly [string, Column][]
}

/** Compiles the statement, once for each database and resource. */
export const compileInsert = cachePerDatabase((db, resource: Resource): Insert => {
  const columns = Object.entries(getColumnsByField(db, resource))
  const inserted = columns.filter(([field]) => resource.writable.has(field) || field === resource.slug?.field || STAMPS.includes(field))
  const names = inserted.map(([, column]) => sql.identifier(column.name))
  const values = inserted.map((_, index) => placeholder(index))
  const shown = columns.map(([, column]) => column)
  const insert = sql`insert into ${db.tables[resource.table]} (${sql.join(names, sql`, `)}) values (${sql.join(values, sql`, `)}) returning ${sql.join(shown, sql`, `)}`
  return { insert, columns: inserted }
})
