// Migrates a SQLite schema, and checks what SQLite does not check while foreign keys are off.
import type Driver from 'better-sqlite3'
import { sql } from 'drizzle-orm'
import { DatabaseUnusable, type Queries } from '../database.ts'
import { type DerivedPart, migrate } from '../migrations.ts'
import type { SchemaParts } from '../schema-parts.ts'

/** Brings the schema up to date inside a transaction, with foreign keys switched off. */
export async function migrateSqlite(
  writer: Driver.Database,
  tx: Queries,
  folder: URL,
  derived: DerivedPart[],
  parts: SchemaParts,
): Promise<string[]> {
  const given = await readLastIds(tx)
  const applied = await migrate(tx, folder, derived, parts)
  for (const { name, seq } of given) await tx.run(sql`update sqlite_sequence set seq = max(seq, ${seq}) where name = ${name}`)
  // It reads every row: not at a start at which nothing changed.
  if (applied.length === 0) return applied
  const orphans = writer.pragma('foreign_key_check') as { table: string }[]
  if (orphans.length > 0)
    throw new DatabaseUnusable(`${orphans.length} rows of ${orphans[0]?.table} refer to rows that do not exist: nothing was migrated`)
  return applied
}

/** The last id that each table gave out. A rebuilt table would begin again after the last that it still has. */
async function readLastIds(tx: Queries): Promise<{ name: string; seq: number }[]> {
  const [known] = await tx.all(sql`select 1 from sqlite_master where name = 'sqlite_sequence'`)
  return known ? tx.all(sql`select name, seq from sqlite_sequence`) : []
}
