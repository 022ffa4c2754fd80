// Columns that every served table has.
import type { SQLiteColumn, SQLiteTable } from 'drizzle-orm/sqlite-core'
import type * as sqliteKit from './sqlite/kit.ts'

/** The functions that define tables and columns. SQLite's types are canonical; `pg/canonical.ts` casts PostgreSQL's to them. */
export type Kit = typeof sqliteKit

/** A table that is served as a resource. */
export type ServedTable = SQLiteTable & { id: SQLiteColumn; version: SQLiteColumn; created_at: SQLiteColumn; updated_at: SQLiteColumn }

/** Defines the times of creation and last change, and the version of a row. */
export const defineStamps = (kit: Kit) => ({
  created_at: kit.time().notNull(),
  updated_at: kit.time().notNull(),
  version: kit.integer().notNull().default(1),
})
