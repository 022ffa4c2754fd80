// Runs the operations of a bulk request, in one transaction or each on its own.
import { setImmediate } from 'node:timers/promises'
import { inArray, sql } from 'drizzle-orm'
import { columnsByName, type Queries } from '../../drizzle/database.ts'
import { buildProblemDocument, errors, type Fault, invalid, MAX_FAULTS, Problem } from '../errors.ts'
import { computeRecordTag } from '../http/etags.ts'
import { quoteTag } from '../http/preconditions.ts'
import { findUpsertKey, type Resource } from '../query/resource.ts'
import { type WriteContext, withRetry } from '../records/transaction.ts'
import {
  type AppliedOperation,
  type BulkOperation,
  type BulkOperationName,
  type CheckedOperation,
  findOperationFaults,
  getOperationValidator,
  isOperationName,
  type OperationContext,
  operations,
} from './operations.ts'
import { type BulkBody, type Envelope, MAX_ATOMIC_BYTES } from './schemas.ts'
import { buildTooMuchTextProblem, measureWrittenText } from './slices.ts'

/** Milliseconds of work before the event loop gets a turn. One operation on a large record already takes a few. */
const MAX_TURN = 5

/** Faults listed per operation, if operations run each on its own. */
const MAX_LISTED_FAULTS = 10

/** Returns a function to await between two pieces of work. It lets the event loop turn if the last turn is MAX_TURN ago. */
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

interface BulkContext extends OperationContext {
  /** Id of the request, for the problems in the response. */
  instance: string
}

/** Returns the faults of an operation with pointers relative to the whole body. */
export const locateFaults = ({ place, faults }: CheckedOperation): Fault[] =>
  faults.map((fault) => prefixPointer(`/operations/${place}`, fault))

/** Checks the operations of a request. Call it outside transactions. */
export async function checkBulk(resource: Resource, body: BulkBody, { repeated }: Envelope): Promise<CheckedOperation[]> {
  const check = getOperationValidator(resource)
  const yieldTurn = createYielder()
  const checkedOperations: CheckedOperation[] = []
  let left = MAX_FAULTS
  for (const [place, input] of body.operations.entries()) {
    await yieldTurn()
    const faults = [...check(input), ...(repeated.get(place) ?? [])]
    const { op } = (input ?? {}) as Partial<BulkOperation>
    // A response must not be much larger than its request.
    const maxListed = Math.min(MAX_LISTED_FAULTS, left)
    left -= Math.min(maxListed, faults.length)
    checkedOperations.push({ place, input, op: isOperationName(op) ? op : null, faults, maxListed })
  }
  return checkedOperations
}

/**
 * Runs all operations in the caller's transaction. After a failure the rest still runs, and one problem with the faults of all failed
 * operations is thrown. Its code is `invalid-request` if any operation has that code, and otherwise that of the first failed operation.
 * `faults` are those of the body around the operations.
 */
export async function runAtomic(
  writeContext: WriteContext,
  checkedOperations: readonly CheckedOperation[],
  context: BulkContext,
  faults: readonly Fault[],
): Promise<OperationResult[]> {
  await lockRecords(writeContext, checkedOperations)
  const yieldTurn = createYielder()
  const results: OperationResult[] = []
  const problems = faults.length > 0 ? [invalid(faults)] : []
  let characters = 0
  for (const operation of checkedOperations) {
    if (problems.reduce((sum, problem) => sum + problem.faults.length, 0) > MAX_FAULTS) break
    await yieldTurn()
    try {
      const applied = await runOperation(writeContext, operation, context, Number.POSITIVE_INFINITY)
      characters += measureWrittenText(writeContext.resource, operation.input as BulkOperation, applied)
      results.push(buildResult(applied))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      problems.push(error)
    }
    if (characters <= MAX_ATOMIC_BYTES) continue
    problems.push(buildTooMuchTextProblem(operation.place))
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

/** Runs operations, each of which can fail on its own. Their results include the problems. */
export async function runEach(
  writeContext: WriteContext,
  checkedOperations: readonly CheckedOperation[],
  context: BulkContext,
): Promise<OperationResult[]> {
  const { db, tx } = writeContext
  await lockRecords(writeContext, checkedOperations)
  const yieldTurn = createYielder()
  const results: OperationResult[] = []
  for (const operation of checkedOperations) {
    await yieldTurn()
    try {
      results.push(
        buildResult(
          await withRetry(db, () => runInSavepoint(tx, () => runOperation(writeContext, operation, context, operation.maxListed))),
        ),
      )
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      const { op } = operation
      results.push({ ...(op && { op }), status: errors[error.code].status, problem: buildProblemDocument(error, context.instance) })
    }
  }
  return results
}

/** Runs one operation. Throws a problem with up to `maxListed` faults, whose pointers are relative to the whole body. */
async function runOperation(
  writeContext: WriteContext,
  checkedOperation: CheckedOperation,
  context: BulkContext,
  maxListed: number,
): Promise<AppliedOperation> {
  const { place, input, op, faults } = checkedOperation
  const at = `/operations/${place}`
  const operation = input as BulkOperation
  if (op === null || faults.length > 0) {
    const further = op === null ? [] : await findOperationFaults(writeContext, operation, faults)
    const all = [...locateFaults(checkedOperation), ...further.map((fault) => prefixPointer(`${at}/body`, fault))]
    throw invalid(all, all.slice(0, maxListed))
  }
  try {
    return { op, ...(await operations[op].run(writeContext, operation, context)) }
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    const { code, message, members, cause } = error
    const located = error.faults.map((fault) => prefixPointer(`${at}/body`, fault))
    throw new Problem(code, message, { faults: located.length > 0 ? located : [{ pointer: at, detail: message }], members, cause })
  }
}

/**
 * Two bulk requests could deadlock. Takes all locks up front, in one global order. Unique values are locked by name, since a record that
 * does not exist yet cannot be locked.
 */
async function lockRecords({ db, tx, table, resource }: WriteContext, checkedOperations: readonly CheckedOperation[]): Promise<void> {
  const valid = checkedOperations.filter(({ faults }) => faults.length === 0).map(({ input }) => input as BulkOperation)
  const key = findUpsertKey(resource)
  const fields = resource.unique.flatMap((unique) => (unique.length === 1 ? unique : []))
  const names = valid.flatMap(({ body = {} }) =>
    fields.flatMap((field) => (typeof body[field] === 'string' ? [`${resource.table} ${field} ${body[field]}`] : [])),
  )
  if (names.length > 0) await db.dialect.lockNames(tx, names)
  const ids = valid.flatMap(({ id }) => (id === undefined ? [] : [id]))
  const values = valid.flatMap(({ op, body }) => (op === 'upsert' && key ? [body[key]] : []))
  const column = key === undefined ? undefined : columnsByName(table)[key]
  if (column && values.length > 0) {
    const existing = await tx.select({ id: table.id }).from(table).where(inArray(column, values))
    ids.push(...existing.map(({ id }) => Number(id)))
  }
  if (ids.length > 1) await tx.all(sql`select id from ${table} where ${inArray(table.id, ids)} order by id${db.dialect.forUpdate}`)
}

/** Runs work in a savepoint. A failure undoes that work only, and the transaction can go on. */
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
  ...(row && { version: row.version, etag: quoteTag(computeRecordTag(row)) }),
})

const prefixPointer = (pointer: string, fault: Fault): Fault =>
  'pointer' in fault ? { ...fault, pointer: pointer + fault.pointer } : fault
