// Constraints between records: references, trees and unique values. Checks run in the transaction, so that faults can name the record.
import { and, eq, ne, sql } from 'drizzle-orm'
import { type Column, columnsByName } from '../../drizzle/database.ts'
import { buildDuplicateQuery, hasRow, toDriverValue } from '../../drizzle/rows.ts'
import { type Fault, invalid, Problem } from '../errors.ts'
import type { Body, Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import { buildSlug, findFreeSlug } from './slug.ts'
import type { WriteContext } from './transaction.ts'

/** A fault of values that depends on other records, or on the record itself. */
export interface Conflict {
  code: 'invalid-request' | 'cycle' | 'not-unique'
  /** Detail of the problem if the response has this code. */
  detail: string
  fault: Fault
}

/** Checks `values` against other rows, and adds derived fields. `current` is the record to change. Throws one problem with all faults. */
export async function enforceConstraints(
  context: WriteContext,
  values: Body,
  current?: Row,
  earlier: readonly Conflict[] = [],
): Promise<Body> {
  const { db, tx, resource, table } = context
  // Lock the tree: two concurrent moves could otherwise create a cycle.
  if (current && resource.references.some(({ field, target }) => target === resource.table && typeof values[field] === 'number'))
    await db.dialect.lock(tx, table)
  const conflicts = [...earlier, ...(await findConflicts(context, values, current))]
  if (conflicts.length > 0) throw buildConflictProblem(conflicts)
  return { ...values, ...(await deriveFields(context, values, current)) }
}

/** Builds one problem from all conflicts. An invalid request is 400 whatever else is wrong; otherwise the first conflict decides. */
function buildConflictProblem(conflicts: readonly Conflict[]): Problem {
  const faults = conflicts.map(({ fault }) => fault)
  const [first] = conflicts
  return !first || conflicts.some(({ code }) => code === 'invalid-request')
    ? invalid(faults)
    : new Problem(first.code, first.detail, { faults })
}

/** Finds unknown references, cycles in a tree and taken values. Skips the members in `faulty`, which have faults already. */
export async function findConflicts(
  context: WriteContext,
  values: Body,
  current?: Row,
  faulty: ReadonlySet<string> = new Set(),
): Promise<Conflict[]> {
  const sound = Object.fromEntries(Object.entries(values).filter(([field]) => !faulty.has(field)))
  return [
    ...(await findUnknownReferences(context, sound)),
    ...(current ? await findCycles(context, sound, current) : []),
    ...(await findTakenValues(context, sound, current, faulty)),
  ]
}

async function findUnknownReferences({ db, tx, resource }: WriteContext, values: Body): Promise<Conflict[]> {
  const conflicts: Conflict[] = []
  for (const { field, target } of resource.references) {
    const id = values[field]
    if (typeof id !== 'number' || (await hasRow(tx, db.tables[target], id))) continue
    const detail = describeMissing(field, id)
    conflicts.push({ code: 'invalid-request', detail, fault: { pointer: `/${field}`, detail } })
  }
  return conflicts
}

/** Describes a reference to a record that does not exist. */
export const describeMissing = (field: string, id: unknown): string => `no ${field.replaceAll('_', ' ')} with the id ${id} exists`

/** Finds references that would put the record below itself. */
async function findCycles({ tx, resource, table }: WriteContext, values: Body, current: Row): Promise<Conflict[]> {
  const conflicts: Conflict[] = []
  for (const { field, target } of resource.references) {
    const parent = values[field]
    if (target !== resource.table || typeof parent !== 'number') continue
    const column = sql.identifier(field)
    const [above] = await tx.all<{ id: number }>(sql`
      with recursive above (id) as (select id from ${table} where id = ${parent} union select higher.${column} from ${table} higher join above on higher.id = above.id)
      select id from above where id = ${current.id}`)
    if (above)
      conflicts.push({
        code: 'cycle',
        detail: `The ${resource.singular} ${current.id} would be below itself.`,
        fault: {
          pointer: `/${field}`,
          detail: parent === current.id ? `is this ${resource.singular} itself` : `is below this ${resource.singular}`,
        },
      })
  }
  return conflicts
}

async function deriveFields({ db, tx, resource: { slug, singular }, table }: WriteContext, values: Body, current?: Row): Promise<Body> {
  if (!slug || !(slug.from in values)) return {}
  // Lock the table: two concurrent transactions could otherwise choose the same free slug.
  await db.dialect.lock(tx, table)
  const column = columnsByName(table)[slug.field] as Column
  const others = current ? ne(table.id, current.id) : undefined
  const taken = async (text: string) =>
    (
      await tx
        .select({ id: table.id })
        .from(table)
        .where(and(eq(column, text), others))
        .limit(1)
    ).length > 0
  return { [slug.field]: await findFreeSlug(buildSlug(String(values[slug.from])) || singular, taken) }
}

/** Finds each field whose value another record has. */
async function findTakenValues(
  { tx, resource, table }: WriteContext,
  values: Body,
  current?: Row,
  faulty?: ReadonlySet<string>,
): Promise<Conflict[]> {
  const columns = columnsByName(table)
  const row: Body = { ...current, ...values }
  const conflicts: Conflict[] = []
  for (const fields of resource.unique) {
    const isKnown = fields.every((field) => row[field] !== undefined && !faulty?.has(field))
    const isSet = fields.some((field) => field in values) && !(fields.length === 1 && row[fields[0] as string] === null)
    if (!isKnown || !isSet) continue
    const given = fields.map((field): [Column, unknown] => [columns[field] as Column, row[field]])
    const [[other] = []] = await tx.runPrepared(buildDuplicateQuery(table, given), [
      current?.id ?? 0,
      ...given.map(([column, value]) => toDriverValue(column, value)),
    ])
    if (other === undefined) continue
    const detail = `the ${resource.singular} ${other} has the same ${fields.join(' and ')}`
    conflicts.push({
      code: 'not-unique',
      detail: `Another ${resource.singular} has this value.`,
      fault: { pointer: `/${fields.at(-1)}`, detail },
    })
  }
  return conflicts
}

/** Throws `in-use` if records of `resources` refer to this record. */
export async function refuseIfReferenced(context: WriteContext, id: number, resources: readonly Resource[]): Promise<void> {
  const used: string[] = []
  for (const other of resources) {
    for (const reference of other.references) used.push(...(await describeUses(context, other, reference, id)))
  }
  if (used.length > 0) throw new Problem('in-use', `The ${context.resource.singular} ${id} is referred to by ${used.join(' and ')}.`)
}

/** Describes how many records of `other` refer to the record by a field. Returns an empty list if none does. */
async function describeUses(
  { db, tx, resource }: WriteContext,
  other: Resource,
  { field, target }: Resource['references'][number],
  id: number,
): Promise<string[]> {
  if (target !== resource.table) return []
  const [row] = await tx.all<{ count: number }>(
    sql`select count(*) as count from ${db.tables[other.table]} where ${sql.identifier(field)} = ${id}`,
  )
  const count = Number(row?.count)
  return count === 0 ? [] : [`${count} ${count === 1 ? other.singular : other.table}`]
}
