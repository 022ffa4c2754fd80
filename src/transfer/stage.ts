// The first half of an import: reads the lines into a temporary table, while others write.
import { sql } from 'drizzle-orm'
import { columnsByName, type Database, type Queries } from '../../drizzle/database.ts'
import { buildInserter, toDriverValue } from '../../drizzle/rows.ts'
import { BATCH } from '../../drizzle/search.ts'
import type { Fault } from '../errors.ts'
import { addFaults, createFaults } from './faults.ts'
import type { Line } from './ndjson.ts'
import { type ImportPlan, importTable } from './plan.ts'

/** Creates the temporary tables. Their own columns have a prefix, since they have those of the resource too. */
export async function createStaging(staging: Queries, plan: ImportPlan): Promise<void> {
  const copy = sql`as select * from ${importTable(plan)} where false`
  await staging.run(sql`create temporary table staged ${copy}`)
  for (const column of ['staged_line bigint', 'staged_path text', 'staged_nulls bigint', 'staged_absent bigint'])
    await staging.run(sql`alter table staged add column ${sql.raw(column)}`)
  await staging.run(sql`create index staged_by_line on staged (staged_line)`)
  await staging.run(sql`create temporary table staged_before ${copy}`)
  await staging.run(sql`alter table staged_before add column staged_line bigint`)
  await staging.run(sql`create index staged_before_by_line on staged_before (staged_line)`)
  await staging.run(sql`create temporary table staged_paths (path text primary key, id bigint)`)
  await createFaults(staging)
}

/** Reads all lines, and calls `onProgress` with the number of lines read after each batch. */
export async function stageLines(
  staging: Queries,
  db: Database,
  plan: ImportPlan,
  lines: AsyncIterable<Line>,
  onProgress: (lines: number) => void,
): Promise<void> {
  const insertRows = createRowInserter(db, plan)
  let rows: StagedRow[] = []
  let faults: { line: number; detail: string }[] = []
  let last = 0
  const flush = async () => {
    await insertRows(staging, rows)
    await addFaults(staging, faults)
    rows = []
    faults = []
    onProgress(last)
  }
  for await (const line of lines) {
    last = line.number
    const found = 'fault' in line ? [] : plan.validate(line.value)
    const detail = 'fault' in line ? line.fault : found.map(describe).join('; ')
    if (detail !== '') faults.push({ line: line.number, detail })
    const row = 'fault' in line ? undefined : buildRow(plan, line.number, line.value, found)
    if (row) rows.push(row)
    if (rows.length === BATCH || faults.length === BATCH) await flush()
  }
  await flush()
  // PostgreSQL would otherwise read all lines for each batch: it never looks at temporary tables by itself.
  await staging.run(sql`analyze staged`)
}

const describe = (fault: Fault) => `${formatPointer(fault) || 'the line'} ${fault.detail}`
const formatPointer = (fault: Fault) => ('pointer' in fault ? fault.pointer.slice(1) : fault.parameter)

interface StagedRow {
  line: number
  values: Record<string, unknown>
  /** Bits of the required fields that the line leaves out. */
  absent: number
}

/** A line with its good members: a bad one is staged too, to find what else is wrong with it. Undefined where it has no good key. */
function buildRow(plan: ImportPlan, line: number, value: unknown, faults: readonly Fault[]): StagedRow | undefined {
  const bad = new Set(faults.map((fault) => formatPointer(fault).split('/')[0]))
  if (bad.has('') || bad.has(plan.key)) return undefined
  const members = Object.entries(value as Record<string, unknown>)
  const absent = plan.required.reduce((mask, field, place) => (members.some(([name]) => name === field) ? mask : mask + 2 ** place), 0)
  return { line, values: Object.fromEntries(members.filter(([name]) => !bad.has(name))), absent }
}

function createRowInserter(db: Database, plan: ImportPlan): (staging: Queries, rows: readonly StagedRow[]) => Promise<void> {
  const columns = columnsByName(db.tables[plan.resource.table])
  const insert = buildInserter('staged', ['staged_line', 'staged_path', 'staged_nulls', 'staged_absent', ...plan.fields])
  return (staging, rows) =>
    insert(
      staging,
      rows.map(({ line, values, absent }) => [
        line,
        values[plan.path] === undefined ? null : JSON.stringify(values[plan.path]),
        plan.nullMask(values),
        absent,
        ...plan.fields.map((field) => toDriverValue(columns[field], values[field] ?? null)),
      ]),
    )
}
