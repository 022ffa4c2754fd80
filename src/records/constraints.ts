// What has to hold between records: references, trees, unique values. It is checked inside the transaction, to say which record it is.
import { and, eq, ne, sql } from 'drizzle-orm'
import { type Column, columnsByName } from '../../drizzle/database.ts'
import { buildDuplicateQuery, hasRow, toDriverValue } from '../../drizzle/rows.ts'
import { type Fault, invalid, Problem } from '../errors.ts'
import type { Body, Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import { buildSlug, findFreeSlug } from './slug.ts'
import type { WriteContext } from './transaction.ts'

/** A fault of values that other records, or the record itself, decide. */
export interface Conflict {
  code: 'invalid-request' | 'cycle' | 'not-unique'
  /** What the answer says where it is of this code. */
  detail: string
  fault: Fault
}

/** Checks `values` against the other rows, and adds what is derived from them. `current` is the record that they change. Throws all faults. */
export async function enforceConstraints(
  context: WriteContext,
  values: Body,
  current?: Row,
  found: readonly Conflict[] = [],
): Promise<Body> {
  const { db, tx, resource, table } = context
  // The tree is locked, so that two moves cannot make a circle between them.
  if (current && resource.references.some(({ field, target }) => target === resource.table && typeof values[field] === 'number'))
    await db.dialect.lock(tx, table)
  const conflicts = [...found, ...(await findConflicts(context, values, current))]
  if (conflicts.length > 0) throw buildConflictProblem(conflicts)
  return { ...values, ...(await deriveFields(context, values, current)) }
}

/** The problem of all conflicts together. A request with faults is 400, whatever else is wrong; otherwise the first conflict decides. */
function buildConflictProblem(conflicts: readonly Conflict[]): Problem {
  const faults = conflicts.map(({ fault }) => fault)
  const [first] = conflicts
  return !first || conflicts.some(({ code }) => code === 'invalid-request')
    ? invalid(faults)
    : new Problem(first.code, first.detail, { faults })
}

/** Finds unknown references, a circle in a tree and taken values. What is wrong with the members in `faulty` is known already. */
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

/** A record must not come to stand below itself. */
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
  // Two that ask at the same time would be told that the same one is free.
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

/** Throws `in-use` where records of `resources` refer to this one. */
export async function refuseIfReferenced(context: WriteContext, id: number, resources: readonly Resource[]): Promise<void> {
  const used: string[] = []
  for (const other of resources) {
    for (const reference of other.references) used.push(...(await describeUses(context, other, reference, id)))
  }
  if (used.length > 0) throw new Problem('in-use', `The ${context.resource.singular} ${id} is referred to by ${used.join(' and ')}.`)
}

/** How many records of `other` refer to the record by this field, in words; nothing where none does. */
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
