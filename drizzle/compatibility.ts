// Checks that the running code can use the schema of a database: its own, or a newer one that fits (docs/operations.md).
import { sql } from 'drizzle-orm'
import { DatabaseUnusable, type Queries } from './database.ts'
import { computeHash, type DerivedPart, readMigrations, refuseChanged, type Step } from './migrations.ts'
import type { SchemaParts } from './schema-parts.ts'

/** Hashes in `stockroom_schema` by kind and name. */
type AppliedHashes = Record<'migration' | 'derived' | 'breaking', Map<string, string>>

/**
 * Returns a function that throws DatabaseUnusable unless the code can use the schema. Its first call reads the files of the migrations.
 * It looks at tables and columns only if another version has changed the schema since the last call.
 */
export function createCompatibilityCheck(
  folder: URL,
  derived: readonly DerivedPart[],
  schema: SchemaParts,
): (tx: Queries) => Promise<void> {
  let migrations: Step[] | undefined
  let lastState: string | undefined
  return async (tx) => {
    migrations ??= readMigrations(folder)
    const rows = await tx.all<{ kind: string; name: string; hash: string }>(
      sql`select kind, name, hash from stockroom_schema order by kind, name`,
    )
    const state = JSON.stringify(rows)
    if (state === lastState) return
    const applied: AppliedHashes = { migration: new Map(), derived: new Map(), breaking: new Map() }
    for (const { kind, name, hash } of rows) applied[kind as keyof AppliedHashes]?.set(name, hash)
    await check(tx, migrations, derived, schema, applied)
    lastState = state
  }
}

async function check(
  tx: Queries,
  migrations: readonly Step[],
  derived: readonly DerivedPart[],
  schema: SchemaParts,
  applied: AppliedHashes,
): Promise<void> {
  refuseChanged(migrations, applied.migration)
  const behind = [
    ...migrations.filter(({ name }) => !applied.migration.has(name)),
    ...derived.filter(({ name }) => !applied.derived.has(name)),
  ]
  // This version created its own parts at its start, so another version has changed those that differ.
  const changed = derived.filter((part) => applied.derived.has(part.name) && applied.derived.get(part.name) !== computeHash(part))
  const newer = [...applied.migration.keys()].filter((name) => !migrations.some((migration) => migration.name === name))
  if (changed.length > 0 || newer.length > 0) {
    const present = await schema.read(tx)
    behind.push(...changed.filter(({ needs }) => needs.some((part) => !present.has(part))))
  }
  if (behind.length > 0)
    throw new DatabaseUnusable(`The schema is behind the code (${behind.map(({ name }) => name).join(', ')}): run "stockroom migrate"`)
  if (newer.length > 0) await refuseIncompatible(tx, newer, schema, applied)
}

async function refuseIncompatible(tx: Queries, newer: readonly string[], schema: SchemaParts, { breaking }: AppliedHashes): Promise<void> {
  const [present, required] = [await schema.read(tx), await schema.readRequired(tx)]
  const faults = [
    ...newer.filter((name) => breaking.has(name)).map((name) => `${name} is marked as breaking`),
    ...[...schema.declaredParts.keys()].filter((part) => !present.has(part)).map((part) => `${part} is missing`),
    ...[...required]
      .filter(([part, { table }]) => schema.declaredParts.has(`table ${table}`) && !schema.declaredParts.has(part))
      .map(([part]) => `${part} is required, but this version does not write it`),
  ]
  if (faults.length > 0)
    throw new DatabaseUnusable(
      `A newer version has migrated the database (${newer.join(', ')}), and this one cannot use it: ${faults.join('; ')}`,
    )
}
