// Collects the faults of all lines in a temporary table, so that one run tells all of them, however many there are.
import { type SQL, sql } from 'drizzle-orm'
import type { Queries } from '../../drizzle/database.ts'
import { buildInserter } from '../../drizzle/rows.ts'
import { describeMissing } from '../records/constraints.ts'
import { currentValue, type ImportPlan, isKnown, isSameKey, isWithin, nextValue, type Range, stagedValue, table } from './plan.ts'
import { escapeControls } from './printable.ts'

/** Lines that are named. */
const MAX_NAMED = 20

/** Nothing was imported. The message names each bad line, or the file that cannot be read, and says why. */
export class ImportRefused extends Error {}

/** The lines up to one were imported, and the rest was not. */
export class ImportStopped extends Error {}

interface Fault {
  line: number
  kind: Kind
  field: string
  value: string | null
  /** Another line, or the id of a record. */
  other: number | null
}

/** What is said of each kind of fault. */
const words = {
  invalid: ({ value }) => String(value),
  required: ({ field }, { resource }) => `${field} is required for a new ${resource.singular}`,
  repeated: ({ field, value, other }) => `${field} ${JSON.stringify(value)} is on line ${other} too`,
  dangling: ({ field, value }) => describeMissing(field, value),
  taken: ({ field, value, other }, { resource }) => `${field} ${JSON.stringify(value)} is that of the ${resource.singular} ${other}`,
} satisfies Record<string, (fault: Omit<Fault, 'kind'>, plan: ImportPlan) => string>

type Kind = keyof typeof words

export const createFaults = (staging: Queries): Promise<unknown> =>
  staging.run(sql`create temporary table staged_faults (line bigint, kind text, field text, value text, other bigint)`)

const insert = buildInserter('staged_faults', ['line', 'kind', 'field', 'value'])

/** Adds what is wrong with lines by themselves. */
export const addFaults = (staging: Queries, faults: readonly { line: number; detail: string }[]): Promise<void> =>
  insert(
    staging,
    faults.map(({ line, detail }) => [line, 'invalid' satisfies Kind, '', detail]),
  )

/** Adds lines that give the key of an earlier line, or a unique value of another line or record. */
export async function findRepeated(staging: Queries, plan: ImportPlan): Promise<void> {
  const known = sql`staged left join ${table(plan)} on ${isSameKey(plan)}`
  await staging.run(repeated(plan.key, stagedValue(plan.key), sql`staged`))
  for (const field of plan.unique) {
    const value = nextValue(plan, field)
    await staging.run(repeated(field, value, sql`${known} where ${stagedValue(field)} is not null`))
    await staging.run(sql`${addTo('taken', field)} cast(${value} as text), other.id from ${known} join ${table(plan)} other on other.${sql.identifier(field)} = ${value}
      where ${stagedValue(field)} is not null and other.id is distinct from ${currentValue(plan, 'id')}`)
  }
}

const repeated = (field: string, value: SQL, from: SQL): SQL =>
  sql`${addTo('repeated', field)} value, first from (
    select staged_line, cast(${value} as text) as value, min(staged_line) over (partition by ${value}) as first from ${from}) found where staged_line > first`

/** Adds what the records in the database do not allow, for the lines in a range. */
export async function findConflicts(on: Queries, plan: ImportPlan, range: Range): Promise<void> {
  for (const [place, field] of plan.required.entries())
    await on.run(sql`${addTo('required', field)} null, null from staged
      where ${isWithin(range)} and (staged_absent & ${sql.raw(String(2 ** place))}) <> 0 and not ${isKnown(plan)}`)
  for (const { field, target } of plan.references) {
    const id = stagedValue(field)
    await on.run(sql`${addTo('dangling', field)} cast(${id} as text), null from staged
      where ${isWithin(range)} and ${id} is not null and not exists (select 1 from ${sql.identifier(target)} target where target.id = ${id})`)
  }
}

/** The beginning of a statement, which goes on with the value, the other line or record, and where they are from. */
const addTo = (kind: Kind, field: string): SQL =>
  sql`insert into staged_faults (line, kind, field, value, other) select staged_line, ${sql.raw(`'${kind}'`)}, ${sql.raw(`'${field}'`)},`

/** Returns a sentence for each of the first bad lines, and one for the number of the others; nothing where no line is bad. */
export async function describeFaults(on: Queries, plan: ImportPlan): Promise<string[]> {
  const faults = await on.all<Fault>(
    sql`select line, kind, field, value, other from staged_faults
      where line in (select distinct line from staged_faults order by line limit ${MAX_NAMED}) order by line, kind, field`,
  )
  const named = [...Map.groupBy(faults, ({ line }) => Number(line))].map(
    ([line, some]) => `line ${line}: ${escapeControls(some.map((fault) => words[fault.kind](fault, plan)).join('; '))}`,
  )
  const [counted] = await on.all<{ count: number }>(sql`select count(distinct line) as count from staged_faults`)
  const more = Number(counted?.count) - named.length
  return more > 0 ? [...named, `${more} more ${more === 1 ? 'line has' : 'lines have'} faults`] : named
}
