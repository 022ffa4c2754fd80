// Columns that every served table has.
import type { SQLiteColumn, SQLiteTable } from 'drizzle-orm/sqlite-core'
import type * as sqliteKit from './sqlite/kit.ts'

/** SQLite's types are the canonical ones; the PostgreSQL schema is cast to them in `pg/canonical.ts`. */
export type Kit = typeof sqliteKit

/** A table that is served as a resource. */
export type ServedTable = SQLiteTable & { id: SQLiteColumn; version: SQLiteColumn; created_at: SQLiteColumn; updated_at: SQLiteColumn }

/** Times of creation and last change, and the number of changes. */
export const defineStamps = (kit: Kit) => ({
  created_at: kit.time().notNull(),
  updated_at: kit.time().notNull(),
  version: kit.integer().notNull().default(1),
})
