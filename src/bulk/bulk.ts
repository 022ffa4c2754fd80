// Many writes in one request and one transaction: all of them or none, or each for itself.
import { setImmediate } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import { getTableColumns, inArray, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Queries } from '../../drizzle/database.ts'
import type { Writing } from '../constraints.ts'
import { errors, type Fault, invalid, MAX_FAULTS, Problem, problemDocument } from '../errors.ts'
import { quoted } from '../preconditions.ts'
import type { Resource } from '../query/resource.ts'
import { retried } from '../records.ts'
import { recordTag } from '../tags.ts'
import { compileBody, MAX_MEMBERS } from '../validate.ts'
import {
  type Context,
  checkOperation,
  type Done,
  isOperation,
  type Operation,
  type OperationName,
  operationSchema,
  operations,
  upsertKey,
} from './operations.ts'

/** Operations of one request. */
export const MAX_OPERATIONS = 1_000

/** Operations after which others have their turn: where the database is in this process, it answers at once. */
const TURN = 20

/** Faults that are named of one operation, where each stands for itself. */
const MAX_FAULTS_OF_ONE = 10

export interface BulkBody {
  operations: unknown[]
  atomic?: boolean
}

const atomic = Type.Optional(
  Type.Boolean({
    default: true,
    description: '`true`: where one operation fails, nothing is done, and its problem is the answer. `false`: each stands for itself',
  }),
)
const bounds = { minItems: 1, maxItems: MAX_OPERATIONS }

/** As the OpenAPI document shows it. */
export const bulkInput = (resource: Resource) =>
  Type.Unsafe<BulkBody>(
    Type.Object(
      { operations: Type.Array(operationSchema(resource), bounds), atomic },
      { additionalProperties: false, examples: [{ operations: [{ op: 'create', body: exampleOf(resource) }], atomic: true }] },
    ),
  )

/** A body that makes a record, of the examples of its fields. */
const exampleOf = ({ writable, contract }: Resource) =>
  Object.fromEntries([...writable.keys()].flatMap((field) => (contract[field]?.examples ? [[field, contract[field].examples[0]]] : [])))

const checkBody = compileBody(Type.Object({ operations: Type.Array(Type.Unknown(), bounds), atomic }, { additionalProperties: false }))

/** What is looked at before the operations are, one by one. Throws `invalid-request`. */
export function checkEnvelope(body: unknown): void {
  const faults = hasFewMembers(body) ? checkBody(body) : [{ pointer: '', detail: 'must be a JSON object with `operations`' }]
  if (faults.length > 0) throw invalid(faults)
}

const hasFewMembers = (body: unknown) =>
  typeof body === 'object' && body !== null && !Array.isArray(body) && Object.keys(body).length <= MAX_MEMBERS

export const BulkResult = Type.Object(
  {
    results: Type.Array(
      Type.Object(
        {
          op: Type.Optional(Type.String({ description: 'Left out where it is none' })),
          status: Type.Integer({ description: 'As the operation by itself would have been answered with' }),
          id: Type.Optional(Type.Integer({ description: 'Of the record' })),
          version: Type.Optional(Type.Integer()),
          etag: Type.Optional(Type.String({ description: 'The `ETag` of the record as it is now' })),
          problem: Type.Optional(Type.Ref('Problem')),
        },
        { additionalProperties: false },
      ),
      { description: 'One for each operation, in their order' },
    ),
    succeeded: Type.Integer(),
    failed: Type.Integer(),
  },
  { $id: 'BulkResult', additionalProperties: false },
)

interface Result extends Record<string, unknown> {
  op?: OperationName
  status: number
}

export interface BulkContext extends Context {
  /** The id of the request, for the problems in its answer. */
  instance: string
}

/** An operation that has been checked, or what is wrong with it. */
type Checked = { operation: Operation } | { op: OperationName | null; problem: Problem }

/**
 * Checks the operations of a request, one by one. Throws `invalid-request` with the faults of all where they stand and fall together.
 * Pointers begin with `/operations/<index>`.
 */
export async function checkBulk(resource: Resource, { operations: given, atomic = true }: BulkBody): Promise<Checked[]> {
  const check = checkOperation(resource)
  const all: Fault[] = []
  const checked: Checked[] = []
  let named = 0
  for (const [index, operation] of given.entries()) {
    if (index % TURN === TURN - 1) await setImmediate()
    const faults = check(operation).map((fault) => below(`/operations/${index}`, fault))
    if (faults.length === 0) checked.push({ operation: operation as Operation })
    else {
      const { op } = (operation ?? {}) as Partial<Operation>
      // Of what is sent, an answer is not to give back more.
      const shown = faults.slice(0, Math.min(MAX_FAULTS_OF_ONE, MAX_FAULTS - named))
      named += shown.length
      checked.push({ op: isOperation(op) ? op : null, problem: invalid(faults, shown) })
      all.push(...faults)
      if (atomic && all.length > MAX_FAULTS) break
    }
  }
  if (atomic && all.length > 0) throw invalid(all)
  return checked
}

/** Does what was checked. Where it is atomic, throws the problem of the first operation that fails. */
export async function runBulk(writing: Writing, checked: readonly Checked[], atomic: boolean, context: BulkContext): Promise<Result[]> {
  const { db, tx } = writing
  await lockInOrder(writing, checked)
  const results: Result[] = []
  const failed = (op: OperationName | null, problem: Problem) =>
    results.push({ ...(op && { op }), status: errors[problem.code].status, problem: problemDocument(problem, context.instance) })
  for (const [index, one] of checked.entries()) {
    if (index % TURN === TURN - 1) await setImmediate()
    if ('problem' in one) {
      failed(one.op, one.problem)
      continue
    }
    const { op } = one.operation
    const run = () => operations[op].run(writing, one.operation, context)
    const work = atomic ? run : () => retried(db, () => within(tx, run))
    try {
      results.push(resultOf(op, await located(`/operations/${index}`, '/body', work)))
    } catch (error) {
      if (atomic || !(error instanceof Problem)) throw error
      failed(op, error)
    }
  }
  return results
}

/**
 * Two that hold what the other wants would wait until the database ends one of them: so what they will want is held first, in an order
 * that is the same for all. Values in which no two records are equal are names, since a record that is to be made cannot be held yet.
 */
async function lockInOrder({ db, tx, table, resource }: Writing, checked: readonly Checked[]): Promise<void> {
  const given = checked.flatMap((one) => ('operation' in one ? [one.operation] : []))
  const key = upsertKey(resource)
  const fields = resource.unique.flatMap((unique) => (unique.length === 1 ? unique : []))
  const names = given.flatMap(({ body = {} }) =>
    fields.flatMap((field) => (typeof body[field] === 'string' ? [`${resource.table} ${field} ${body[field]}`] : [])),
  )
  if (names.length > 0) await db.dialect.lockNames(tx, names)
  const ids = given.flatMap(({ id }) => (id === undefined ? [] : [id]))
  const values = given.flatMap(({ op, body }) => (op === 'upsert' && key ? [body[key]] : []))
  const column = key === undefined ? undefined : (getTableColumns(table) as Record<string, SQLiteColumn>)[key]
  if (column && values.length > 0) {
    const known = await tx.select({ id: table.id }).from(table).where(inArray(column, values))
    ids.push(...known.map(({ id }) => Number(id)))
  }
  if (ids.length > 1) await tx.all(sql`select id from ${table} where ${inArray(table.id, ids)} order by id${db.dialect.forUpdate}`)
}

/** What fails is undone, and the transaction goes on. */
async function within<T>(tx: Queries, work: () => Promise<T>): Promise<T> {
  await tx.run(sql`savepoint operation`)
  try {
    const result = await work()
    await tx.run(sql`release savepoint operation`)
    return result
  } catch (error) {
    await tx.run(sql`rollback to savepoint operation`)
    await tx.run(sql`release savepoint operation`)
    throw error
  }
}

const resultOf = (op: OperationName, { status, id, row }: Done): Result => ({
  op,
  status,
  id,
  ...(row && { version: row.version, etag: quoted(recordTag(row)) }),
})

const below = (pointer: string, fault: Fault): Fault => ('pointer' in fault ? { ...fault, pointer: pointer + fault.pointer } : fault)

/** The problem of an operation as that of the request: its pointers begin at the whole body. */
async function located<T>(operation: string, member: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    const { code, message, members, cause } = error
    const faults = error.faults.map((fault) => below(operation + member, fault))
    throw new Problem(code, message, { faults: faults.length > 0 ? faults : [{ pointer: operation, detail: message }], members, cause })
  }
}
