// Reads a list on PostgreSQL: counts the matches, and by their number chooses between sorting them and walking along the index of the order.
import type pg from 'pg'
import { QueryTooExpensive } from '../database.ts'
import { checkDeadline } from '../deadline.ts'
import type { ListMemory } from '../list-memory.ts'
import {
  buildListPage,
  type Count,
  computeCountLimit,
  computePageNumber,
  isEmpty,
  type ListPage,
  type ListResult,
  MAX_SORTED,
  parseHead,
  type Selection,
  type TableHead,
} from '../selection.ts'
import type { Semaphore } from '../semaphore.ts'
import type { Statement } from '../statement.ts'
import { isOutOfTime } from './failures.ts'
import { buildTimeouts, runTransaction } from './pool.ts'
import { queryRows } from './prepared.ts'
import type { Statements } from './statements.ts'

/** Milliseconds after which a walk in the order of a list is given up for sorting all matches. */
const WALK_TIME = 200
/** Rows before a page beyond which a round trip to count the matches pays: the page may be nearer to the end of the list. */
const DEEP = 2_000

const UNKNOWN: Count = { rows: 0, exact: false }

/** The count of a filter, and the version of the tables that it holds for. */
interface FilterCount {
  version: string
  count: Count
}

/** Pools of connections: the server ends long statements on `short`, and statements past the deadline on `long`. */
export type ReadPools = Record<'short' | 'long', pg.Pool>

export interface ReadTimes {
  /** Milliseconds after which a list is given up. */
  timeout: number
  /** Milliseconds for a count that need not be exact. */
  countTime: number
}

/** State that all lists of a database share. */
export interface ReadContext extends ReadPools, ReadTimes {
  memory: ListMemory<Statements, FilterCount>
  /** Process ids of the backends that read with a deadline. */
  running: Set<number>
  longReads: Semaphore
  isStopped: boolean
}

/** A list to read, with the statements of its shape. */
export interface ListRequest {
  statements: Statements
  values: readonly unknown[]
  selection: Selection
  filter: string
  /** Time at which the whole list is given up, in milliseconds of `performance.now()`. */
  deadline: number
}

/** Options of reading in a snapshot. */
interface SnapshotOptions {
  /** Bounds the statements. Without it, the list is read on the short pool. */
  deadline?: number
  /** Counts the matches if their number is unknown. */
  counts: boolean
}

/** Reads the usual list in one round trip. Returns undefined for a list that takes more, or whose count is out of date. */
export async function readInOneStatement(
  { memory, short }: ReadContext,
  { statements, values, selection, filter }: ListRequest,
): Promise<ListResult | undefined> {
  const { clauses, place, size } = selection
  const remembered = memory.counts.get(filter)
  if (clauses.length > 0 && !remembered) return undefined
  // Without a row there is no head, so the version of the count could not be compared.
  if (remembered && isEmpty(remembered.count)) return undefined
  if ('page' in place && (place.page === 'last' || (place.page - 1) * size > DEEP)) return undefined
  const statement = remembered && isSorted(remembered.count) ? statements.sort : statements.walk
  const offset = 'page' in place ? (Number(place.page) - 1) * size : 0
  const rows = await queryRows(short, statement, [...values, offset])
  const head = parseHead(rows[0]?.at(-1))
  if (!head || (remembered && remembered.version !== head.version)) return undefined
  const page = buildListPage(selection, rows, {
    count: remembered?.count ?? head.count,
    offset,
    isFromEnd: false,
    hasOthers: rows[0]?.at(-2) === true,
  })
  return { ...page, state: head.version }
}

/** Counts and reads in one transaction, so that both see the same moment. */
export function readInSnapshot(context: ReadContext, request: ListRequest, { deadline, counts }: SnapshotOptions): Promise<ListResult> {
  const { short, long, running } = context
  const begin = () => {
    // The client has its answer already if the deadline passed while the list waited for a connection.
    checkDeadline(request.deadline)
    return `begin isolation level repeatable read, read only${deadline === undefined ? '' : `; ${buildTimeouts(deadline)}`}`
  }
  return runTransaction(deadline === undefined ? short : long, begin, async (client) => {
    const { processID } = client as pg.PoolClient & { processID: number }
    if (deadline !== undefined) running.add(processID)
    try {
      const [[text] = []] = await queryRows(client, request.statements.head, [])
      const head = parseHead(text) ?? { version: '', count: { rows: 0, exact: true } }
      const count = await findCount(context, client, request, head, { ...(deadline !== undefined && { deadline }), counts })
      return { ...(await readPage(context, client, request, count, deadline)), state: head.version }
    } finally {
      running.delete(processID)
    }
  })
}

/** Returns the remembered count if it is of this version, and otherwise counts. */
async function findCount(
  context: ReadContext,
  client: pg.PoolClient,
  request: ListRequest,
  { version, count: all }: TableHead,
  { deadline, counts }: SnapshotOptions,
): Promise<Count> {
  if (request.selection.clauses.length === 0) return all
  const { memory } = context
  const remembered = memory.counts.get(request.filter)
  const isCurrent = remembered?.version === version
  if (!isCurrent && !counts) return UNKNOWN
  const count = isCurrent ? remembered.count : await countMatches(context, client, request, remembered, deadline)
  if (counts) memory.counts.set(request.filter, { version, count })
  return count
}

/** Counts to `MAX_SORTED` first, and on to the limit only if there are more matches. */
async function countMatches(
  context: ReadContext,
  client: pg.PoolClient,
  { statements, values, selection }: ListRequest,
  remembered: FilterCount | undefined,
  deadline: number | undefined,
): Promise<Count> {
  const isPartial = deadline !== undefined && selection.count !== 'exact'
  const maxTime = isPartial ? context.countTime : Number.POSITIVE_INFINITY
  const run = async (statement: Statement) => {
    refuseStopped(context, deadline)
    return Number((await queryRows(client, statement, values))[0]?.[0])
  }
  const hadMany = remembered && remembered.count.rows > MAX_SORTED && selection.count !== 'none'
  let rows = 0
  // Ending a statement ends its transaction, except for what was done before the savepoint.
  if (isPartial) await client.query(`savepoint counting; ${buildTimeouts(deadline, maxTime)}`)
  try {
    if (!hadMany) rows = await run(statements.few)
    if (hadMany || (rows > MAX_SORTED && selection.count !== 'none')) {
      // The server gives each statement the whole time.
      if (!hadMany && deadline !== undefined) await client.query(buildTimeouts(deadline, maxTime))
      rows = await run(statements.count)
    }
    const limit = computeCountLimit(selection)
    if (isPartial) await client.query('rollback to savepoint counting')
    return { rows: Math.min(rows, limit), exact: rows <= limit }
  } catch (error) {
    if (!isPartial || context.isStopped || !isOutOfTime(error)) throw error
    await client.query('rollback to savepoint counting')
    return { rows, exact: false }
  }
}

async function readPage(
  context: ReadContext,
  client: pg.PoolClient,
  { statements, values, selection }: ListRequest,
  count: Count,
  deadline: number | undefined,
): Promise<ListPage> {
  const { clauses, place, size } = selection
  const page = computePageNumber(selection, count)
  const empty: ListPage = { count, rows: [], page, hasBefore: false, hasAfter: false }
  if (isEmpty(count)) return empty
  // The last page has no number if the end of the list is unknown.
  if ('page' in place && place.page === 'last' && !count.exact) return { ...empty, page: 0 }
  const offset = 'page' in place ? (page - 1) * size : 0
  if (count.exact && offset >= count.rows) return { ...empty, hasBefore: true }
  const isFromEnd = 'page' in place && count.exact && offset > count.rows / 2
  const skipped = isFromEnd ? Math.max(0, count.rows - offset - size) : offset
  const read = (way: 'walk' | 'sort') => queryRows(client, statements[isFromEnd ? (`${way}Back` as const) : way], [...values, skipped])
  const way = clauses.length > 0 && isSorted(count) ? 'sort' : 'walk'
  refuseStopped(context, deadline)
  const rows =
    deadline === undefined
      ? await read(way)
      : await readBefore(context, client, read, { way, canSort: way === 'walk' && clauses.length > 0, deadline })
  const [first] = rows
  const hasOthers = (first ? first.at(-2) : (await queryRows(client, statements.others, values))[0]?.[0]) === true
  return buildListPage(selection, rows, { count, offset, isFromEnd, hasOthers })
}

/** Walks for a limited time, then sorts: all matches may be at the far end of the order. */
async function readBefore(
  context: ReadContext,
  client: pg.PoolClient,
  read: (way: 'walk' | 'sort') => Promise<unknown[][]>,
  { way, canSort, deadline }: { way: 'walk' | 'sort'; canSort: boolean; deadline: number },
): Promise<unknown[][]> {
  const maxTime = canSort ? Math.min(WALK_TIME, (deadline - performance.now()) / 2) : Number.POSITIVE_INFINITY
  await client.query(`savepoint reading; ${buildTimeouts(deadline, maxTime)}`)
  try {
    return await read(way)
  } catch (error) {
    if (!canSort || context.isStopped || !isOutOfTime(error)) throw error
    await client.query(`rollback to savepoint reading; ${buildTimeouts(deadline)}`)
    return read('sort')
  }
}

/** Throws after `interrupt`, which cancels running statements but finds none between two: the next one must not be sent. */
function refuseStopped({ isStopped }: ReadContext, deadline: number | undefined): void {
  if (isStopped && deadline !== undefined) throw new QueryTooExpensive('The list was interrupted before its deadline')
}

/** Whether so few rows match that finding and sorting them costs less than walking along the order until they come. */
const isSorted = ({ rows, exact }: Count) => exact && rows <= MAX_SORTED
