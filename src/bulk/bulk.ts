// Runs the operations of a bulk request: all of them or none, or each for itself.
import { setImmediate } from 'node:timers/promises'
import { inArray, sql } from 'drizzle-orm'
import { columnsByName, type Queries } from '../../drizzle/database.ts'
import { errors, type Fault, invalid, MAX_FAULTS, Problem, problemDocument } from '../errors.ts'
import { recordTag } from '../http/etags.ts'
import { quoted } from '../http/preconditions.ts'
import { type Resource, upsertKey } from '../query/resource.ts'
import { type WriteContext, withRetry } from '../records/transaction.ts'
import {
  type BulkOperation,
  type BulkOperationName,
  checkOperation,
  findOperationFaults,
  isOperationName,
  type OperationContext,
  type OperationEffect,
  operations,
} from './operations.ts'
import { type BulkBody, type Envelope, MAX_ATOMIC_BYTES } from './schemas.ts'
import { measureWrittenText, refuseTooMuchText } from './slices.ts'

/** Milliseconds of work after which the event loop turns. One operation on a large record takes some itself. */
const MAX_TURN = 5

/** Faults that are named of one operation, where each stands for itself. */
const MAX_LISTED_FAULTS = 10

/** Returns a function to await between two pieces of work: it lets the event loop turn where the last turn is long ago. */
function createYielder(): () => Promise<void> {
  let since = performance.now()
  return async () => {
    if (performance.now() - since < MAX_TURN) return
    await setImmediate()
    since = performance.now()
  }
}

export interface OperationResult extends Record<string, unknown> {
  op?: BulkOperationName
  status: number
}

export interface BulkContext extends OperationContext {
  /** The id of the request, for the problems in its answer. */
  instance: string
}

/** An operation with the faults that can be found without the database. Pointers begin at it. */
export interface CheckedOperation {
  place: number
  given: unknown
  op: BulkOperationName | null
  faults: readonly Fault[]
  /** How many of its faults its own problem lists. */
  listed: number
}

/** Its faults, with pointers that begin at the whole body. */
export const locateFaults = ({ place, faults }: CheckedOperation): Fault[] =>
  faults.map((fault) => prefixPointer(`/operations/${place}`, fault))

/** Checks the operations of a request, before any transaction. */
export async function checkBulk(resource: Resource, body: BulkBody, { repeated }: Envelope): Promise<CheckedOperation[]> {
  const check = checkOperation(resource)
  const share = createYielder()
  const checked: CheckedOperation[] = []
  let left = MAX_FAULTS
  for (const [place, given] of body.operations.entries()) {
    await share()
    const faults = [...check(given), ...(repeated.get(place) ?? [])]
    const { op } = (given ?? {}) as Partial<BulkOperation>
    // An answer must not give back more than was sent.
    const listed = Math.min(MAX_LISTED_FAULTS, left)
    left -= Math.min(listed, faults.length)
    checked.push({ place, given, op: isOperationName(op) ? op : null, faults, listed })
  }
  return checked
}

/**
 * Runs all operations, and throws one problem with the faults of all that fail, as if those were left out. A request with faults is 400
 * whatever else is wrong; otherwise the first operation that fails decides. `faults` are known before.
 */
export async function runAtomic(
  writing: WriteContext,
  checked: readonly CheckedOperation[],
  context: BulkContext,
  faults: readonly Fault[],
): Promise<OperationResult[]> {
  await lockRecords(writing, checked)
  const share = createYielder()
  const results: OperationResult[] = []
  const problems = faults.length > 0 ? [invalid(faults)] : []
  let characters = 0
  for (const one of checked) {
    if (problems.reduce((sum, problem) => sum + problem.faults.length, 0) > MAX_FAULTS) break
    await share()
    try {
      const done = await runOperation(writing, one, context, Number.POSITIVE_INFINITY)
      characters += measureWrittenText(writing.resource, one.given as BulkOperation, done)
      results.push(buildResult(done))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      problems.push(error)
    }
    if (characters <= MAX_ATOMIC_BYTES) continue
    problems.push(refuseTooMuchText(one.place))
    break
  }
  if (problems.length > 0) throw mergeProblems(problems)
  return results
}

function mergeProblems(problems: readonly Problem[]): Problem {
  const [first] = problems
  const faults = problems.flatMap((problem) => problem.faults)
  if (!first || problems.some(({ code }) => code === 'invalid-request')) return invalid(faults)
  const { code, message, members, cause } = first
  return new Problem(code, message, { faults: faults.slice(0, MAX_FAULTS), members, cause })
}

/** Runs operations of which each may fail by itself. */
export async function runEach(
  writing: WriteContext,
  checked: readonly CheckedOperation[],
  context: BulkContext,
): Promise<OperationResult[]> {
  const { db, tx } = writing
  await lockRecords(writing, checked)
  const share = createYielder()
  const results: OperationResult[] = []
  for (const one of checked) {
    await share()
    try {
      results.push(buildResult(await withRetry(db, () => runInSavepoint(tx, () => runOperation(writing, one, context, one.listed)))))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      const { op } = one
      results.push({ ...(op && { op }), status: errors[error.code].status, problem: problemDocument(error, context.instance) })
    }
  }
  return results
}

export interface AppliedOperation extends OperationEffect {
  op: BulkOperationName
}

/** Throws a problem whose pointers begin at the whole body. It lists so many faults. */
async function runOperation(writing: WriteContext, one: CheckedOperation, context: BulkContext, listed: number): Promise<AppliedOperation> {
  const { place, given, op, faults } = one
  const at = `/operations/${place}`
  const operation = given as BulkOperation
  if (op === null || faults.length > 0) {
    const further = op === null ? [] : await findOperationFaults(writing, operation, faults)
    const all = [...locateFaults(one), ...further.map((fault) => prefixPointer(`${at}/body`, fault))]
    throw invalid(all, all.slice(0, listed))
  }
  try {
    return { op, ...(await operations[op].run(writing, operation, context)) }
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    const { code, message, members, cause } = error
    const located = error.faults.map((fault) => prefixPointer(`${at}/body`, fault))
    throw new Problem(code, message, { faults: located.length > 0 ? located : [{ pointer: at, detail: message }], members, cause })
  }
}

/**
 * Two bulk requests could deadlock: so all locks are taken up front, in one global order. Values in which no two records are equal are
 * names, since a record that is to be made cannot be locked yet.
 */
async function lockRecords({ db, tx, table, resource }: WriteContext, checked: readonly CheckedOperation[]): Promise<void> {
  const given = checked.filter(({ faults }) => faults.length === 0).map((one) => one.given as BulkOperation)
  const key = upsertKey(resource)
  const fields = resource.unique.flatMap((unique) => (unique.length === 1 ? unique : []))
  const names = given.flatMap(({ body = {} }) =>
    fields.flatMap((field) => (typeof body[field] === 'string' ? [`${resource.table} ${field} ${body[field]}`] : [])),
  )
  if (names.length > 0) await db.dialect.lockNames(tx, names)
  const ids = given.flatMap(({ id }) => (id === undefined ? [] : [id]))
  const values = given.flatMap(({ op, body }) => (op === 'upsert' && key ? [body[key]] : []))
  const column = key === undefined ? undefined : columnsByName(table)[key]
  if (column && values.length > 0) {
    const known = await tx.select({ id: table.id }).from(table).where(inArray(column, values))
    ids.push(...known.map(({ id }) => Number(id)))
  }
  if (ids.length > 1) await tx.all(sql`select id from ${table} where ${inArray(table.id, ids)} order by id${db.dialect.forUpdate}`)
}

/** Undoes what fails, and the transaction goes on. */
async function runInSavepoint<T>(tx: Queries, work: () => Promise<T>): Promise<T> {
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

const buildResult = ({ op, status, id, row }: AppliedOperation): OperationResult => ({
  op,
  status,
  id,
  ...(row && { version: row.version, etag: quoted(recordTag(row)) }),
})

const prefixPointer = (pointer: string, fault: Fault): Fault =>
  'pointer' in fault ? { ...fault, pointer: pointer + fault.pointer } : fault
