// Collects the faults of all lines in a temporary table, so that one run tells all of them, however many there are.
import { type SQL, sql } from 'drizzle-orm'
import type { Queries } from '../../drizzle/database.ts'
import { buildInserter } from '../../drizzle/rows.ts'
import { describeMissing } from '../records/constraints.ts'
import { currentValue, type ImportPlan, importTable, isKnown, isSameKey, isWithin, type LineRange, nextValue, stagedValue } from './plan.ts'
import { escapeControls } from './printable.ts'

/** Lines that are named. */
const MAX_DESCRIBED = 20

/** Nothing was imported. The message names each bad line, or the file that cannot be read, and says why. */
export class ImportRefused extends Error {}

/** The lines up to one were imported, and the rest was not. */
export class ImportStopped extends Error {}

interface LineFault {
  line: number
  kind: LineFaultKind
  field: string
  value: string | null
  /** Another line, or the id of a record. */
  other: number | null
}

/** What is said of each kind of fault. */
const descriptions = {
  invalid: ({ value }) => String(value),
  required: ({ field }, { resource }) => `${field} is required for a new ${resource.singular}`,
  repeated: ({ field, value, other }) => `${field} ${JSON.stringify(value)} is on line ${other} too`,
  dangling: ({ field, value }) => describeMissing(field, value),
  taken: ({ field, value, other }, { resource }) => `${field} ${JSON.stringify(value)} is that of the ${resource.singular} ${other}`,
} satisfies Record<string, (fault: Omit<LineFault, 'kind'>, plan: ImportPlan) => string>

type LineFaultKind = keyof typeof descriptions

export const createFaults = (staging: Queries): Promise<unknown> =>
  staging.run(sql`create temporary table staged_faults (line bigint, kind text, field text, value text, other bigint)`)

const insertRows = buildInserter('staged_faults', ['line', 'kind', 'field', 'value'])

/** Adds what is wrong with lines by themselves. */
export const addFaults = (staging: Queries, faults: readonly { line: number; detail: string }[]): Promise<void> =>
  insertRows(
    staging,
    faults.map(({ line, detail }) => [line, 'invalid' satisfies LineFaultKind, '', detail]),
  )

/** Adds lines that give the key of an earlier line, or a unique value of another line or record. */
export async function findRepeated(staging: Queries, plan: ImportPlan): Promise<void> {
  const known = sql`staged left join ${importTable(plan)} on ${isSameKey(plan)}`
  await staging.run(insertRepeated(plan.key, stagedValue(plan.key), sql`staged`))
  for (const field of plan.unique) {
    const value = nextValue(plan, field)
    await staging.run(insertRepeated(field, value, sql`${known} where ${stagedValue(field)} is not null`))
    await staging.run(sql`${insertFaults('taken', field)} cast(${value} as text), other.id from ${known} join ${importTable(plan)} other on other.${sql.identifier(field)} = ${value}
      where ${stagedValue(field)} is not null and other.id is distinct from ${currentValue(plan, 'id')}`)
  }
}

const insertRepeated = (field: string, value: SQL, from: SQL): SQL =>
  sql`${insertFaults('repeated', field)} value, first from (
    select staged_line, cast(${value} as text) as value, min(staged_line) over (partition by ${value}) as first from ${from}) found where staged_line > first`

/** Adds what the records in the database do not allow, for the lines in a range. */
export async function findConflicts(on: Queries, plan: ImportPlan, range: LineRange): Promise<void> {
  for (const [place, field] of plan.required.entries())
    await on.run(sql`${insertFaults('required', field)} null, null from staged
      where ${isWithin(range)} and (staged_absent & ${sql.raw(String(2 ** place))}) <> 0 and not ${isKnown(plan)}`)
  for (const { field, target } of plan.references) {
    const id = stagedValue(field)
    await on.run(sql`${insertFaults('dangling', field)} cast(${id} as text), null from staged
      where ${isWithin(range)} and ${id} is not null and not exists (select 1 from ${sql.identifier(target)} target where target.id = ${id})`)
  }
}

/** The beginning of a statement, which goes on with the value, the other line or record, and where they are from. */
const insertFaults = (kind: LineFaultKind, field: string): SQL =>
  sql`insert into staged_faults (line, kind, field, value, other) select staged_line, ${sql.raw(`'${kind}'`)}, ${sql.raw(`'${field}'`)},`

/** Returns a sentence for each of the first bad lines, and one for the number of the others; nothing where no line is bad. */
export async function describeFaults(on: Queries, plan: ImportPlan): Promise<string[]> {
  const faults = await on.all<LineFault>(
    sql`select line, kind, field, value, other from staged_faults
      where line in (select distinct line from staged_faults order by line limit ${MAX_DESCRIBED}) order by line, kind, field`,
  )
  const named = [...Map.groupBy(faults, ({ line }) => Number(line))].map(
    ([line, some]) => `line ${line}: ${escapeControls(some.map((fault) => descriptions[fault.kind](fault, plan)).join('; '))}`,
  )
  const [counted] = await on.all<{ count: number }>(sql`select count(distinct line) as count from staged_faults`)
  const more = Number(counted?.count) - named.length
  return more > 0 ? [...named, `${more} more ${more === 1 ? 'line has' : 'lines have'} faults`] : named
}
