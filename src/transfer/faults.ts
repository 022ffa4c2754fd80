// Collects the faults of all lines in a temporary table, so that one run reports them all in constant memory.
import { type SQL, sql } from 'drizzle-orm'
import type { Queries } from '../../drizzle/database.ts'
import { buildInserter } from '../../drizzle/rows.ts'
import { describeMissing } from '../records/constraints.ts'
import {
  currentValue,
  type ImportPlan,
  importTable,
  isExistingKey,
  isSameKey,
  isWithin,
  type LineRange,
  nextValue,
  stagedValue,
} from './plan.ts'
import { escapeControls } from './printable.ts'

/** Lines whose faults are described. Further ones are counted. */
const MAX_DESCRIBED = 20

/** Nothing was imported. The message describes the faulty lines, or why the file cannot be read. */
export class ImportRefused extends Error {}

/** The import stopped in the middle. The message names the last line that was imported. */
export class ImportStopped extends Error {}

interface LineFault {
  line: number
  kind: LineFaultKind
  field: string
  value: string | null
  /** Another line, or the id of a record. */
  other: number | null
}

/** Descriptions by kind of fault. */
const descriptions = {
  invalid: ({ value }) => String(value),
  required: ({ field }, { resource }) => `${field} is required for a new ${resource.singular}`,
  repeated: ({ field, value, other }) => `${field} ${JSON.stringify(value)} is on line ${other} too`,
  dangling: ({ field, value }) => describeMissing(field, value),
  taken: ({ field, value, other }, { resource }) => `${field} ${JSON.stringify(value)} belongs to ${resource.singular} ${other}`,
} satisfies Record<string, (fault: Omit<LineFault, 'kind'>, plan: ImportPlan) => string>

type LineFaultKind = keyof typeof descriptions

export const createFaults = (staging: Queries): Promise<unknown> =>
  staging.run(sql`create temporary table staged_faults (line bigint, kind text, field text, value text, other bigint)`)

const insertRows = buildInserter('staged_faults', ['line', 'kind', 'field', 'value'])

/** Adds faults found in single lines. */
export const addFaults = (staging: Queries, faults: readonly { line: number; detail: string }[]): Promise<void> =>
  insertRows(
    staging,
    faults.map(({ line, detail }) => [line, 'invalid' satisfies LineFaultKind, '', detail]),
  )

/** Adds a fault for each line with the key of an earlier line, or with a unique value of another line or record. */
export async function findRepeated(staging: Queries, plan: ImportPlan): Promise<void> {
  const lines = sql`staged left join ${importTable(plan)} on ${isSameKey(plan)}`
  await staging.run(insertRepeated(plan.key, stagedValue(plan.key), sql`staged`))
  for (const field of plan.unique) {
    const value = nextValue(plan, field)
    await staging.run(insertRepeated(field, value, sql`${lines} where ${stagedValue(field)} is not null`))
    await staging.run(sql`${insertFaults('taken', field)} cast(${value} as text), other.id from ${lines} join ${importTable(plan)} other on other.${sql.identifier(field)} = ${value}
      where ${stagedValue(field)} is not null and other.id is distinct from ${currentValue(plan, 'id')}`)
  }
}

const insertRepeated = (field: string, value: SQL, from: SQL): SQL =>
  sql`${insertFaults('repeated', field)} value, first from (
    select staged_line, cast(${value} as text) as value, min(staged_line) over (partition by ${value}) as first from ${from}) occurrences where staged_line > first`

/** Adds the faults of lines in a range that only the database shows: missing required fields and missing references. */
export async function findConflicts(on: Queries, plan: ImportPlan, range: LineRange): Promise<void> {
  for (const [place, field] of plan.required.entries())
    await on.run(sql`${insertFaults('required', field)} null, null from staged
      where ${isWithin(range)} and (staged_absent & ${sql.raw(String(2 ** place))}) <> 0 and not ${isExistingKey(plan)}`)
  for (const { field, target } of plan.references) {
    const id = stagedValue(field)
    await on.run(sql`${insertFaults('dangling', field)} cast(${id} as text), null from staged
      where ${isWithin(range)} and ${id} is not null and not exists (select 1 from ${sql.identifier(target)} target where target.id = ${id})`)
  }
}

/** Builds the beginning of an insert. The caller appends the columns `value` and `other`, and the `from` clause. */
const insertFaults = (kind: LineFaultKind, field: string): SQL =>
  sql`insert into staged_faults (line, kind, field, value, other) select staged_line, ${sql.raw(`'${kind}'`)}, ${sql.raw(`'${field}'`)},`

/** Describes the first faulty lines, one text each, and appends a count of the others. Returns an empty array without faults. */
export async function describeFaults(on: Queries, plan: ImportPlan): Promise<string[]> {
  const faults = await on.all<LineFault>(
    sql`select line, kind, field, value, other from staged_faults
      where line in (select distinct line from staged_faults order by line limit ${MAX_DESCRIBED}) order by line, kind, field`,
  )
  const described = [...Map.groupBy(faults, ({ line }) => Number(line))].map(
    ([line, group]) => `line ${line}: ${escapeControls(group.map((fault) => descriptions[fault.kind](fault, plan)).join('; '))}`,
  )
  const [row] = await on.all<{ count: number }>(sql`select count(distinct line) as count from staged_faults`)
  const more = Number(row?.count) - described.length
  return more > 0 ? [...described, `${more} more ${more === 1 ? 'line has' : 'lines have'} faults`] : described
}
