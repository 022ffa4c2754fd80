// The first half of an import: reads the lines into a temporary table, without blocking other writes.
import { sql } from 'drizzle-orm'
import { BATCH } from '../../drizzle/batches.ts'
import { columnsByName, type Database, type Queries } from '../../drizzle/database.ts'
import { buildInserter, toDriverValue } from '../../drizzle/rows.ts'
import type { Fault } from '../errors.ts'
import { addFaults, createFaults } from './faults.ts'
import type { Line } from './ndjson.ts'
import { type ImportPlan, importTable } from './plan.ts'

/** Creates the temporary tables. Their additional columns have a prefix that keeps them apart from those of the resource. */
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
    const lineFaults = 'fault' in line ? [] : plan.validate(line.value)
    const detail = 'fault' in line ? line.fault : lineFaults.map(describeFault).join('; ')
    if (detail !== '') faults.push({ line: line.number, detail })
    const row = 'fault' in line ? undefined : buildRow(plan, line.number, line.value, lineFaults)
    if (row) rows.push(row)
    if (rows.length === BATCH || faults.length === BATCH) await flush()
  }
  await flush()
  // Without statistics a planner may scan all lines for each batch, and autovacuum never analyses temporary tables.
  await staging.run(sql`analyze staged`)
}

const describeFault = (fault: Fault) => `${formatPointer(fault) || 'the line'} ${fault.detail}`
const formatPointer = (fault: Fault) => ('pointer' in fault ? fault.pointer.slice(1) : fault.parameter)

interface StagedRow {
  line: number
  values: Record<string, unknown>
  /** Bit mask of the required fields that the line omits. */
  absent: number
}

/** Builds a row from the valid members of a line. Faulty lines are staged too, to find further faults. Returns undefined without a valid key. */
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
