// Many writes in one request and one transaction: all of them or none, or each for itself.
import { setImmediate } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import { getTableColumns, inArray, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Queries } from '../../drizzle/database.ts'
import type { Writing } from '../constraints.ts'
import { errors, type Fault, invalid, Problem, problemDocument } from '../errors.ts'
import { quoted } from '../preconditions.ts'
import type { Resource } from '../query/resource.ts'
import { retried } from '../records.ts'
import { recordTag } from '../tags.ts'
import { compileBody } from '../validate.ts'
import {
  type Context,
  checkOperation,
  type Done,
  MAX_MEMBERS,
  type Operation,
  operationSchema,
  operations,
  upsertKey,
} from './operations.ts'

/** Operations of one request. */
export const MAX_OPERATIONS = 1_000

/** Operations after which others have their turn: where the database is in this process, it answers at once. */
const TURN = 20

/** Faults that are looked for. */
const MAX_FAULTS = 100

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
  Type.Unsafe<BulkBody>(Type.Object({ operations: Type.Array(operationSchema(resource), bounds), atomic }, { additionalProperties: false }))

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
          op: Type.String(),
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
  op: unknown
  status: number
}

export interface BulkContext extends Context {
  /** The id of the request, for the problems in its answer. */
  instance: string
}

/**
 * Does what a request asks for. Where it is atomic, throws the problem of the first operation that fails, or `invalid-request` with the
 * faults of all; what it names is told by pointers that begin with `/operations/<index>`.
 */
export async function runBulk(tx: Queries, writing: Omit<Writing, 'tx'>, body: BulkBody, context: BulkContext): Promise<Result[]> {
  const { resource, db } = writing
  const { operations: given, atomic = true } = body
  const faultsOf = checkFaults(resource, given, atomic)
  const inTransaction: Writing = { ...writing, tx }
  await lockInOrder(inTransaction, given as Operation[])
  const results: Result[] = []
  for (const [index, operation] of (given as Operation[]).entries()) {
    if (index % TURN === TURN - 1) await setImmediate()
    const op = operation?.op ?? null
    const run = () => operations[operation.op].run(inTransaction, { ...operation }, context)
    const work = () => located(`/operations/${index}`, '/body', atomic ? run : () => retried(db, () => within(tx, run)))
    try {
      const faults = faultsOf(index)
      if (faults.length > 0) throw invalid(faults)
      results.push(resultOf(op, await work()))
    } catch (error) {
      if (atomic || !(error instanceof Problem)) throw error
      results.push({ op, status: errors[error.code].status, problem: problemDocument(error, context.instance) })
    }
  }
  return results
}

/** Throws where it is atomic and any has faults: nothing is begun then. */
function checkFaults(resource: Resource, given: readonly unknown[], atomic: boolean): (index: number) => Fault[] {
  const check = checkOperation(resource)
  const faultsOf = (index: number) => check(given[index]).map((fault) => below(`/operations/${index}`, fault))
  if (!atomic) return faultsOf
  const all: Fault[] = []
  for (let index = 0; index < given.length && all.length <= MAX_FAULTS; index++) all.push(...faultsOf(index))
  if (all.length > 0) throw invalid(all)
  return () => []
}

/** Two that hold what the other wants would wait until the database ends one of them. */
async function lockInOrder({ db, tx, table, resource }: Writing, all: readonly (Partial<Operation> | null)[]): Promise<void> {
  const given = all.filter((operation) => operation !== null)
  const ids = given.flatMap(({ id }) => (Number.isSafeInteger(id) ? [id as number] : []))
  const key = upsertKey(resource)
  const values = given.flatMap(({ op, body }) => (op === 'upsert' && key && typeof body?.[key] === 'string' ? [body[key]] : []))
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

const resultOf = (op: unknown, { status, id, row }: Done): Result => ({
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
