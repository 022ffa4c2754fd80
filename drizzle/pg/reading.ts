// Reads lists and records: on connections for what is short, and what is not on others, under a deadline.
import type pg from 'pg'
import { type Database, QueryTooExpensive } from '../database.ts'
import { checkDeadline, computeLastTry, withDeadline } from '../deadline.ts'
import { buildListKeys, ListMemory } from '../list-memory.ts'
import {
  buildListPage,
  type Count,
  computeCountLimit,
  computePageNumber,
  isEmpty,
  type ListResult,
  listValues,
  MAX_SORTED,
  parseHead,
  type Selection,
} from '../selection.ts'
import { createSemaphore } from '../semaphore.ts'
import type { Statement } from '../statement.ts'
import { classifyFailure, isOutOfTime } from './failures.ts'
import { buildTimeouts, cancelAll, runTransaction } from './pool.ts'
import { compile, queryRows } from './prepared.ts'
import { buildStatements, type Statements } from './statements.ts'

/** Milliseconds after which a walk in the order of a list is given up for sorting all that matches. */
const WALK_TIME = 200
/** Requests that wait for one of the connections for what takes long. */
const MAX_QUEUE = 64
/** Rows that an offset passes over before it is worth a round trip to learn which end of the list is nearer. */
const DEEP = 2_000

/** What was found of a filter before, and the version of the table for which that holds. */
interface Known {
  version: string
  count: Count
}

interface Job {
  statements: Statements
  values: readonly unknown[]
  selection: Selection
  filter: string
  /** When the whole list is given up. */
  deadline: number
}

type Readers = Pick<Database, 'list' | 'readRows' | 'interrupt'>

/** The server ends what is not short on `short`, and what is past the deadline on `long`. */
type Pools = Record<'short' | 'long', pg.Pool>

/** In milliseconds: when a list is given up, counted from when it is asked for, and how long a count may take which need not be exact. */
export function reading({ short, long }: Pools, { timeout, countTime }: { timeout: number; countTime: number }): Readers {
  const memory = new ListMemory<Statements, Known>(buildStatements)
  const running = new Set<number>()
  const inTurn = createSemaphore(long.options.max, MAX_QUEUE)
  let stopped = false

  /** The usual case, in one round trip; undefined where it takes more. */
  async function atOnce({ statements, values, selection, filter }: Job): Promise<ListResult | undefined> {
    const { clauses, place, size } = selection
    const remembered = memory.counts.get(filter)
    if (clauses.length > 0 && !remembered) return undefined
    // Nothing is to be found, and all that is left is to see whether that still holds.
    if (remembered && isEmpty(remembered.count)) return undefined
    if ('page' in place && (place.page === 'last' || (place.page - 1) * size > DEEP)) return undefined
    const sorting = remembered && isSorted(remembered.count)
    const offset = 'page' in place ? (Number(place.page) - 1) * size : 0
    const rows = await queryRows(short, sorting ? statements.sort : statements.walk, [...values, offset])
    const head = parseHead(rows[0]?.at(-1))
    if (!head || (remembered && remembered.version !== head.version)) return undefined
    const listed = buildListPage(selection, rows, {
      count: remembered?.count ?? head.count,
      offset,
      back: false,
      others: rows[0]?.at(-2) === true,
    })
    return { ...listed, state: head.version }
  }

  /** Counts and reads, all of one moment. A deadline is for what may take long; `counts` is whether what is not known is counted. */
  function inSnapshot(job: Job, { deadline, counts }: { deadline?: number; counts: boolean }): Promise<ListResult> {
    const { statements, values, selection, filter } = job
    const { clauses, place, size } = selection
    const begin = () => {
      // Nobody waits for it any more.
      checkDeadline(job.deadline)
      return `begin isolation level repeatable read, read only${deadline === undefined ? '' : `; ${buildTimeouts(deadline)}`}`
    }
    return runTransaction(deadline === undefined ? short : long, begin, async (client) => {
      const pid = (client as pg.PoolClient & { processID: number }).processID
      if (deadline !== undefined) running.add(pid)
      try {
        const [[text] = []] = await queryRows(client, statements.head, [])
        const head = parseHead(text) ?? { version: '', count: { rows: 0, exact: true } }
        const remembered = memory.counts.get(filter)
        const count =
          clauses.length === 0
            ? head.count
            : remembered?.version === head.version
              ? remembered.count
              : counts
                ? await countWithin(client, job, remembered, deadline)
                : { rows: 0, exact: false }
        if (clauses.length > 0 && counts) memory.counts.set(filter, { version: head.version, count })
        const nothing = (page: number, before = false): ListResult => ({
          count,
          rows: [],
          page,
          hasBefore: before,
          hasAfter: false,
          state: head.version,
        })
        if (isEmpty(count)) return nothing(computePageNumber(selection, count))
        if ('page' in place && place.page === 'last' && !count.exact) return nothing(0)
        const offset = 'page' in place ? (computePageNumber(selection, count) - 1) * size : 0
        if (count.exact && offset >= count.rows) return nothing(computePageNumber(selection, count), true)
        const back = 'page' in place && count.exact && offset > count.rows / 2
        const passed = back ? Math.max(0, count.rows - offset - size) : offset
        const way = clauses.length > 0 && isSorted(count) ? 'sort' : 'walk'
        refuseStopped(deadline)
        const read = (way: 'walk' | 'sort') => queryRows(client, statements[back ? (`${way}Back` as const) : way], [...values, passed])
        const walking = way === 'walk' && clauses.length > 0
        const rows = deadline === undefined ? await read(way) : await readWithin(client, read, { way, walking, deadline })
        const [first] = rows
        const others = (first ? first.at(-2) : (await queryRows(client, statements.others, values))[0]?.[0]) === true
        return { ...buildListPage(selection, rows, { count, offset, back, others }), state: head.version }
      } finally {
        running.delete(pid)
      }
    })
  }

  /** `interrupt` cancels the statement of a connection. It finds none between two statements, so the next one is not sent. */
  function refuseStopped(deadline: number | undefined): void {
    if (stopped && deadline !== undefined) throw new QueryTooExpensive('a list was ended before its deadline')
  }

  /** What matches may be at the far end of the order, where a walk comes to it last: sorting it all is the shorter way then. */
  async function readWithin(
    client: pg.PoolClient,
    read: (way: 'walk' | 'sort') => Promise<unknown[][]>,
    { way, walking, deadline }: { way: 'walk' | 'sort'; walking: boolean; deadline: number },
  ): Promise<unknown[][]> {
    const most = walking ? Math.min(WALK_TIME, (deadline - performance.now()) / 2) : Number.POSITIVE_INFINITY
    await client.query(`savepoint reading; ${buildTimeouts(deadline, most)}`)
    try {
      return await read(way)
    } catch (error) {
      if (!walking || stopped || !isOutOfTime(error)) throw error
      await client.query(`rollback to savepoint reading; ${buildTimeouts(deadline)}`)
      return read('sort')
    }
  }

  async function countWithin(
    client: pg.PoolClient,
    { statements, values, selection }: Job,
    remembered: Known | undefined,
    deadline: number | undefined,
  ): Promise<Count> {
    const partial = deadline !== undefined && selection.count !== 'exact'
    const most = partial ? countTime : Number.POSITIVE_INFINITY
    const counting = async (statement: Statement) => {
      refuseStopped(deadline)
      return Number((await queryRows(client, statement, values))[0]?.[0])
    }
    const many = remembered && remembered.count.rows > MAX_SORTED && selection.count !== 'none'
    let seen = 0
    // A statement that is ended ends the transaction with it, but for what was before the savepoint.
    if (partial) await client.query(`savepoint counting; ${buildTimeouts(deadline, most)}`)
    try {
      if (!many) seen = await counting(statements.few)
      if (many || (seen > MAX_SORTED && selection.count !== 'none')) {
        // The server gives each statement the whole time.
        if (!many && deadline !== undefined) await client.query(buildTimeouts(deadline, most))
        seen = await counting(statements.count)
      }
      const limit = computeCountLimit(selection)
      if (partial) await client.query('rollback to savepoint counting')
      return { rows: Math.min(seen, limit), exact: seen <= limit }
    } catch (error) {
      if (!partial || stopped || !isOutOfTime(error)) throw error
      await client.query('rollback to savepoint counting')
      return { rows: seen, exact: false }
    }
  }

  /** Undefined where that took longer than its connections let a statement run. */
  async function unlessExpensive<T>(work: Promise<T>): Promise<T | undefined> {
    return work.catch((error) => {
      if (classifyFailure(error) === 'expensive') return undefined
      throw error
    })
  }

  /** Undefined where the deadline comes first, also while the list waits for a connection. */
  const later = (job: Job, deadline: number): Promise<ListResult | undefined> =>
    inTurn.run(deadline, () => unlessExpensive(inSnapshot(job, { deadline, counts: true })))

  async function listBefore(selection: Selection, deadline: number): Promise<ListResult> {
    checkDeadline(deadline)
    const keys = buildListKeys(selection)
    const statements = memory.findStatements(selection, keys)
    const job: Job = { statements, values: listValues(selection), selection, filter: keys.filter, deadline }
    if (!memory.isSlow(keys, selection)) {
      const listed = await unlessExpensive(atOnce(job).then((found) => found ?? inSnapshot(job, { counts: true })))
      if (listed) return listed
      memory.noteSlow(keys, selection)
    }
    const listed =
      (await later(job, computeLastTry(deadline, timeout))) ??
      // A page that is found at once is not to fail because its count takes long while all others do too.
      (selection.count === 'exact' || stopped ? undefined : await unlessExpensive(inSnapshot(job, { counts: false })))
    if (!listed) throw new QueryTooExpensive('a list took longer than it may')
    return listed
  }

  return {
    list: (selection, deadline = performance.now() + timeout) => withDeadline(deadline, listBefore(selection, deadline)),
    async readRows(query, values) {
      const statement = compile(query)
      return (await unlessExpensive(queryRows(short, statement, values))) ?? (await queryRows(long, statement, values))
    },
    interrupt() {
      stopped = true
      inTurn.close()
      void cancelAll(short, running)
    },
  }
}

/** So few that finding and sorting them all costs less than to come upon them in the list's order. */
const isSorted = ({ rows, exact }: Count) => exact && rows <= MAX_SORTED
