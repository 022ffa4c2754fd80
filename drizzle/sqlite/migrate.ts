// Migrates a SQLite schema, and checks foreign keys, which SQLite does not check while they are off.
import type Driver from 'better-sqlite3'
import { sql } from 'drizzle-orm'
import { DatabaseUnusable, type Queries } from '../database.ts'
import { type DerivedPart, migrate } from '../migrations.ts'
import type { SchemaParts } from '../schema-parts.ts'

/** Brings the schema up to date. Call it inside a transaction, with foreign keys off. */
export async function migrateSqlite(
  writer: Driver.Database,
  tx: Queries,
  folder: URL,
  derived: DerivedPart[],
  parts: SchemaParts,
): Promise<string[]> {
  const lastIds = await readLastIds(tx)
  const steps = await migrate(tx, folder, derived, parts)
  for (const { name, seq } of lastIds) await tx.run(sql`update sqlite_sequence set seq = max(seq, ${seq}) where name = ${name}`)
  // The check reads every row, so it is skipped if nothing changed.
  if (steps.length === 0) return steps
  const orphans = writer.pragma('foreign_key_check') as { table: string }[]
  if (orphans.length > 0)
    throw new DatabaseUnusable(`${orphans.length} rows of ${orphans[0]?.table} refer to rows that do not exist, so nothing was migrated`)
  return steps
}

/** Reads the last id that each table assigned. A rebuilt table would start again after its last remaining row. */
async function readLastIds(tx: Queries): Promise<{ name: string; seq: number }[]> {
  const [exists] = await tx.all(sql`select 1 from sqlite_master where name = 'sqlite_sequence'`)
  return exists ? tx.all(sql`select name, seq from sqlite_sequence`) : []
}
