// Brings a schema up to date: runs drizzle-kit's migrations in order, then creates the derived parts (counters, triggers, search tables).
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { sql } from 'drizzle-orm'
import { DatabaseUnusable, listCauses, type Queries } from './database.ts'
import { memoize } from './memoize.ts'
import type { SchemaPart, SchemaParts } from './schema-parts.ts'

/** A step of a migration. `stockroom_schema` records its name and a hash of its text. */
export interface Step {
  name: string
  statements: string[]
}

/** A part of the schema that code creates. It is created again whenever its text changes. */
export interface DerivedPart extends Step {
  /** Version of the code that computes its contents, if that is not SQL. */
  version?: number
  /** Has triggers on a served table. A migration that rebuilds the table drops them. */
  isLostInRebuild: boolean
  /** Descriptions, as in `SchemaParts`, of the parts that the running code uses. A newer version may have created others. */
  needs: readonly string[]
  /** Fills the part after its statements ran. */
  fill(tx: Queries): Promise<unknown>
}

/** Reads the folder that drizzle-kit writes: a journal, and a file of SQL for each entry. */
export function readMigrations(folder: URL): Step[] {
  const journal = JSON.parse(readFileSync(new URL('meta/_journal.json', folder), 'utf8')) as { entries: { tag: string }[] }
  return journal.entries.map(({ tag }) => ({
    name: tag,
    statements: readFileSync(new URL(`${tag}.sql`, folder), 'utf8').split('--> statement-breakpoint'),
  }))
}

/** Computes the SHA-256 of a step, once for each object, because `/readyz` compares all steps. */
export const computeHash = memoize((step: Step & { version?: number }) =>
  createHash('sha256')
    .update([...step.statements, ...(step.version ? [step.version] : [])].join('\n'))
    .digest('hex'),
)

/**
 * Migrates inside an exclusive transaction. Returns the names of the applied steps; a second call returns none. Throws DatabaseUnusable if
 * a part that `schema` declares is missing afterwards, or if a migration removed a column with values that are still declared.
 */
export async function migrate(tx: Queries, folder: URL, derived: DerivedPart[], schema: SchemaParts): Promise<string[]> {
  await tx.run(
    sql`create table if not exists stockroom_schema (kind text not null, name text not null, hash text not null, primary key (kind, name))`,
  )
  const migrations = await listPending(tx, readMigrations(folder))
  const removedParts = await applyMigrations(tx, migrations, schema)
  await refuseMissing(tx, schema, removedParts)

  const hashesBefore = await readApplied(tx, 'derived')
  const stale = derived.filter(
    (part) => hashesBefore.get(part.name) !== computeHash(part) || (part.isLostInRebuild && migrations.length > 0),
  )
  for (const part of stale) {
    await apply(tx, 'derived', part)
    await part.fill(tx)
  }
  return [...migrations, ...stale].map(({ name }) => name)
}

/** Lists the migrations of `all` that the database lacks. Throws if the database has an unknown migration, or one of another text. */
async function listPending(tx: Queries, all: readonly Step[]): Promise<Step[]> {
  const hashes = await readApplied(tx, 'migration')
  const unknownName = [...hashes.keys()].find((name) => !all.some((migration) => migration.name === name))
  if (unknownName !== undefined)
    throw new DatabaseUnusable(`Migration ${unknownName} of the database is unknown to this version: run the version that applied it`)
  refuseChanged(all, hashes)
  return all.filter(({ name }) => !hashes.has(name))
}

/** Throws if the text of a migration of `all` has changed since it was applied. */
export function refuseChanged(all: readonly Step[], hashes: ReadonlyMap<string, string>): void {
  const changed = all.find((migration) => hashes.has(migration.name) && hashes.get(migration.name) !== computeHash(migration))
  if (changed) throw new DatabaseUnusable(`Migration ${changed.name} was changed after it was applied: restore its file`)
}

async function readApplied(tx: Queries, kind: 'migration' | 'derived'): Promise<Map<string, string>> {
  const rows = await tx.all<{ name: string; hash: string }>(sql`select name, hash from stockroom_schema where kind = ${kind}`)
  return new Map(rows.map((row) => [row.name, row.hash]))
}

/** The declared parts that each migration removed. */
type RemovedParts = Map<Step, string[]>

async function applyMigrations(tx: Queries, migrations: readonly Step[], schema: SchemaParts): Promise<RemovedParts> {
  const removedParts: RemovedParts = new Map()
  let before = migrations.length > 0 ? await schema.read(tx) : new Set<string>()
  for (const migration of migrations) {
    await apply(tx, 'migration', migration).catch((error) => {
      throw explainFailure(migration, error)
    })
    const after = await schema.read(tx)
    const missing = [...schema.declaredParts.keys()].filter((part) => before.has(part) && !after.has(part))
    if (missing.length > 0) removedParts.set(migration, missing)
    before = after
  }
  return removedParts
}

async function refuseMissing(tx: Queries, schema: SchemaParts, removedParts: RemovedParts): Promise<void> {
  const present = await schema.read(tx)
  const isMissing = (part: string) => !present.has(part)
  for (const [migration, parts] of removedParts) {
    const lostParts: string[] = []
    for (const part of parts)
      if (isMissing(part) || (await losesValues(tx, migration, schema.declaredParts.get(part)))) lostParts.push(part)
    if (lostParts.length > 0) throw explainRemoval(migration, lostParts)
  }
  // Report a missing table without its columns and indexes.
  const missing = [...schema.declaredParts].filter(
    ([part, { table }]) => isMissing(part) && (part === `table ${table}` || !isMissing(`table ${table}`)),
  )
  if (missing.length > 0) throw explainMissing(missing.map(([part]) => part))
}

/** Returns whether a migration lost the values of a column that a later one adds again. A statement that drops or renames it is deliberate. */
async function losesValues(tx: Queries, { statements }: Step, part: SchemaPart | undefined): Promise<boolean> {
  if (part?.column === undefined) return false
  const deliberate = new RegExp(`(drop|rename) column\\W+${part.column}\\b`, 'i')
  if (statements.some((statement) => deliberate.test(statement))) return false
  return (await tx.all(sql`select 1 from ${sql.identifier(part.table)} limit 1`)).length > 0
}

const explainFailure = ({ name }: Step, error: unknown) =>
  new DatabaseUnusable(`Migration ${name} failed, and nothing was migrated: ${[...listCauses(error)].at(-1)?.message}`, { cause: error })

/** Explains that drizzle-kit rebuilt a table with only the columns that it had when the migration was written. */
const explainRemoval = ({ name }: Step, parts: readonly string[]) =>
  new DatabaseUnusable(
    `Migration ${name} removes ${parts.join(', ')}, which drizzle/tables.ts declares: nothing was migrated. ` +
      'The migration was written without the ones before it. Delete its SQL, its snapshot and its entry in meta/_journal.json, ' +
      `then write it again: npm run migrations -- --name ${name.replace(/^\d+_/, '')}`,
  )

const explainMissing = (parts: readonly string[]) =>
  new DatabaseUnusable(
    `The database lacks ${parts.join(', ')}, which drizzle/tables.ts declares: nothing was migrated. ` +
      'Write the migration that adds this: npm run migrations -- --name NAME. If a migration already adds it, someone removed it by hand: add it again.',
  )

/** A line that marks a migration after which older versions cannot use the database, even if they find every part. */
const BREAKING = /^-- stockroom: breaking$/m

async function apply(tx: Queries, kind: 'migration' | 'derived', step: Step): Promise<void> {
  for (const statement of step.statements) await tx.run(sql.raw(statement))
  await record(tx, kind, step)
  if (step.statements.some((statement) => BREAKING.test(statement))) await record(tx, 'breaking', step)
}

async function record(tx: Queries, kind: string, step: Step): Promise<void> {
  await tx.run(sql`insert into stockroom_schema (kind, name, hash) values (${kind}, ${step.name}, ${computeHash(step)})
    on conflict (kind, name) do update set hash = excluded.hash`)
}
