// What every served table has.
import type * as sqliteKit from './sqlite/kit.ts'

/** SQLite's types are the canonical ones; the PostgreSQL schema is cast to them in `pg/canonical.ts`. */
export type Kit = typeof sqliteKit

/** What every served table has: when a row was made and last changed, and how often. */
export const stamps = (kit: Kit) => ({
  created_at: kit.time().notNull(),
  updated_at: kit.time().notNull(),
  version: kit.integer().notNull().default(1),
})
