// The second half of an import: merges the staged lines into the tables, inside a transaction.
import { type SQL, sql } from 'drizzle-orm'
import { type Column, columnsByName, type Database, type Queries } from '../../drizzle/database.ts'
import { placeholder } from '../../drizzle/statement.ts'
import type { Actor } from '../changelog/record.ts'
import { buildWriteContext } from '../records/transaction.ts'
import { createRecord } from '../records/write.ts'
import { describeFaults, findConflicts, ImportRefused } from './faults.ts'
import {
  currentValue,
  type ImportPlan,
  importTable,
  isExistingKey,
  isSameKey,
  isWithin,
  joinList,
  type LineRange,
  nextValue,
  stagedValue,
} from './plan.ts'
import { recordCreated, recordUpdated } from './record-changes.ts'

interface MergeResult {
  created: number
  updated: number
  /** Names of the records created for paths, in the order of the lines. */
  createdNames: readonly string[]
}

/** Merges the lines in a range. Throws ImportRefused if concurrent writes have made lines invalid. */
export async function mergeLines(tx: Queries, db: Database, plan: ImportPlan, range: LineRange, by: Actor): Promise<MergeResult> {
  await findConflicts(tx, plan, range)
  const faults = await describeFaults(tx, plan)
  if (faults.length > 0) throw new ImportRefused(faults.join('\n'))
  const createdNames = await createPaths(tx, db, plan, range, by)
  const columns = columnsByName(db.tables[plan.resource.table])
  const now = sql.param(new Date().toISOString(), columns.updated_at)
  // The order matters: the copy also sees records that another transaction creates after the insert.
  const created = await insertNew(tx, plan, range, now, columns)
  await copyChanging(tx, db, plan, range)
  await updateChanging(tx, plan, range, now)
  await recordCreated(tx, db, plan.resource, created, by)
  return { created: created.length, createdNames, updated: await recordUpdated(tx, db, plan.resource, range, by) }
}

/** Creates the missing records of every path, and stores the id at its end. Returns the names of the new records. */
async function createPaths(tx: Queries, db: Database, plan: ImportPlan, range: LineRange, by: Actor): Promise<string[]> {
  const created: string[] = []
  const find = createPathFinder(plan)
  const ids = new Map<string, number>()
  for (const { path } of await tx.all<{ path: string }>(
    sql`select staged_path as path from staged where ${isWithin(range)} and staged_path is not null group by staged_path order by min(staged_line)`,
  )) {
    const names = JSON.parse(path) as string[]
    let parent: number | null = null
    for (const [depth, name] of names.entries()) {
      const prefix = JSON.stringify(names.slice(0, depth + 1))
      let id: number | undefined = ids.get(prefix) ?? (await find(tx, parent, name))
      if (id === undefined) {
        id = Number((await createRecord(buildWriteContext(tx, db, plan.tree), { name, parent }, by)).id)
        created.push(name)
      }
      ids.set(prefix, id)
      parent = id
    }
    await tx.run(sql`insert into staged_paths (path, id) values (${path}, ${parent})
      on conflict (path) do update set id = excluded.id where staged_paths.id is distinct from excluded.id`)
  }
  return created
}

function createPathFinder({ tree }: ImportPlan): (tx: Queries, parent: number | null, name: string) => Promise<number | undefined> {
  const rows = sql`select id from ${sql.identifier(tree.table)} where name = ${placeholder(0)}`
  const root = sql`${rows} and parent is null`
  const child = sql`${rows} and parent = ${placeholder(1)}`
  return async (tx, parent, name) => {
    const [[id] = []] = await (parent === null ? tx.runPrepared(root, [name]) : tx.runPrepared(child, [name, parent]))
    return id === undefined ? undefined : Number(id)
  }
}

/** SQL for the id at the end of the path of a line; null for an empty path. */
const PATH_ID = sql`(select staged_paths.id from staged_paths where staged_paths.path = staged.staged_path)`

const pathColumn = (plan: ImportPlan): SQL => sql`${sql.identifier(plan.path)}`

/**
 * Locks the records that will change, and copies their state for the change log. Unchanged records keep their version. Copies are never
 * deleted: temporary tables do not reuse space on every engine.
 */
async function copyChanging(tx: Queries, db: Database, plan: ImportPlan, range: LineRange): Promise<void> {
  const differs = plan.fields.map((field) => sql`${nextValue(plan, field)} is distinct from ${currentValue(plan, field)}`)
  await tx.run(sql`insert into staged_before select ${importTable(plan)}.*, staged.staged_line from ${importTable(plan)} join staged on ${isSameKey(plan)}
    where ${isWithin(range)} and (${sql.join(differs, sql` or `)} or
      (staged.staged_path is not null and ${currentValue(plan, plan.path)} is distinct from ${PATH_ID}))${db.dialect.forUpdate}`)
}

/** Updates the copied records only. Others may differ from their lines since the copy, but are not locked. */
async function updateChanging(tx: Queries, plan: ImportPlan, range: LineRange, now: unknown): Promise<void> {
  const values = plan.fields.map((field) => sql`${sql.identifier(field)} = ${nextValue(plan, field)}`)
  await tx.run(
    sql`update ${importTable(plan)} set ${joinList(values)},
      ${pathColumn(plan)} = case when staged.staged_path is null then ${currentValue(plan, plan.path)} else ${PATH_ID} end,
      version = ${currentValue(plan, 'version')} + 1, updated_at = ${now}
    from staged join staged_before on staged_before.staged_line = staged.staged_line
    where ${isWithin(range)} and ${currentValue(plan, 'id')} = staged_before.id`,
  )
}

/** Inserts new records in the order of the lines, so that ids follow it. Returns the ids. */
async function insertNew(
  tx: Queries,
  plan: ImportPlan,
  range: LineRange,
  now: unknown,
  columns: Record<string, Column>,
): Promise<number[]> {
  const values = plan.fields.map((field) => {
    const fallback = plan.resource.writable.get(field)?.default
    const value = stagedValue(field)
    return fallback === undefined || fallback === null ? value : sql`coalesce(${value}, ${sql.param(fallback, columns[field])})`
  })
  const rows = await tx.all<{ id: number }>(
    sql`insert into ${importTable(plan)} (${joinList(plan.fields.map((field) => sql.identifier(field)))}, ${pathColumn(plan)}, created_at, updated_at, version)
    select ${joinList(values)}, staged_paths.id, ${now}, ${now}, 1 from staged left join staged_paths on staged_paths.path = staged.staged_path
    where ${isWithin(range)} and not ${isExistingKey(plan)} order by staged.staged_line returning id`,
  )
  return rows.map(({ id }) => Number(id))
}
