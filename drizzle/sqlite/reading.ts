// Reads lists on SQLite: short ones inline, and the others in a pool of threads under a deadline.
import { Piscina } from 'piscina'
import { type Database, QueryTooExpensive } from '../database.ts'
import { checkDeadline, computeLastTry, withDeadline } from '../deadline.ts'
import { buildListKeys, ListMemory } from '../list-memory.ts'
import { listValues, type Selection } from '../selection.ts'
import { type FilterStats, type ListJob, type ReadLimits, type ReadResult, readList } from './list.ts'
import { type BoundedReader, type Budget, BudgetExceeded, readCpuTime, VISITS_PER_CLOCK } from './reader.ts'
import { buildStatements, MAX_DRIVERS } from './statements.ts'
import type { WorkerData, WorkerJob } from './worker.ts'

/** Number of threads. With eight, the main thread would wait too long for the processor. */
const THREADS = 4
/** Maximum number of jobs that wait for a thread. */
const MAX_QUEUE = 64
/** Milliseconds after which an idle thread ends. */
const IDLE = 60_000
/** Maximum number of rows that the main thread visits for a count or a page. */
const MAX_VISITED = 10_000
/** Milliseconds of CPU time that the main thread spends on it. */
const MAX_TIME = 4
/** Milliseconds that it takes if it waits for the disk. */
const MAX_WAIT = 20
/** Limits on work that the main thread cannot stop: rows before a page, and entries of posting lists, some 5 ns each. */
const UNSEEN = { rows: MAX_VISITED, postings: 1_000_000 }

interface ListReaderOptions {
  path: string
  /** Milliseconds after which a list is given up. */
  timeout: number
  /** Milliseconds of CPU time for a count that need not be exact. */
  countTime: number
}

export function createListReader(
  main: BoundedReader,
  { path, timeout, countTime }: ListReaderOptions,
): Pick<Database, 'list'> & { interrupt(): void; close(): Promise<void> } {
  const stopped = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  const pool = new Piscina<WorkerJob, ReadResult | undefined>({
    filename: new URL('worker.ts', import.meta.url).href,
    minThreads: 0,
    maxThreads: THREADS,
    maxQueue: MAX_QUEUE,
    idleTimeout: IDLE,
    workerData: { path, stopped } satisfies WorkerData,
  })
  const memory = new ListMemory<ListJob['statements'], FilterStats>(buildStatements)

  /** Returns undefined if the deadline passes first, also while the job waits for a thread. */
  async function runInPool(job: ListJob, deadline: number): Promise<ReadResult | undefined> {
    const left = deadline - performance.now()
    if (stopped[0] !== 0 || pool.queueSize >= MAX_QUEUE || left <= 0) return undefined
    return withDeadline(deadline, pool.run({ ...job, deadline: Date.now() + left, countTime })).catch((error) => {
      // Closing ends the threads and fails their jobs.
      if (stopped[0] !== 0 || error instanceof QueryTooExpensive) return undefined
      throw error
    })
  }

  return {
    async list(selection, deadline = performance.now() + timeout) {
      checkDeadline(deadline)
      const { clauses, count } = selection
      const keys = buildListKeys(selection)
      const stats = clauses.length > 0 ? memory.counts.get(keys.filter) : undefined
      const job = buildJob(selection, memory.findStatements(selection, keys), stats)
      const counts = stats && stats.visitedForCount > MAX_VISITED ? 'none' : 'refused'
      let result = memory.isSlow(keys, selection) ? undefined : runInline(main, job, counts)
      if (!result) {
        result = await runInPool(job, computeLastTry(deadline, timeout))
        if (!result || result.visited > MAX_VISITED) memory.noteSlow(keys, selection)
      }
      if (result && clauses.length > 0) memory.counts.set(keys.filter, result.stats)
      // A page that is quick to read must not fail because its count is slow while the pool is full.
      checkDeadline(deadline)
      if (!result && count !== 'exact') result = runInline(main, job, 'partial')
      if (!result) throw new QueryTooExpensive('The list exceeded its deadline')
      return { ...result.page, state: result.stats.version }
    },
    interrupt: () => {
      Atomics.store(stopped, 0, 1)
    },
    close: async () => {
      Atomics.store(stopped, 0, 1)
      await pool.destroy()
    },
  }
}

/** Builds the plain data that `readList` takes. */
export function buildJob(selection: Selection, statements: ListJob['statements'], stats?: FilterStats): ListJob {
  const { clauses, place, size, count, countLimit } = selection
  return {
    statements,
    values: listValues(selection),
    clauses: clauses.slice(0, MAX_DRIVERS).map(({ isUnindexed = false, postings = 0 }) => ({ hasIndex: !isUnindexed, postings })),
    place,
    size,
    count,
    countLimit,
    stats,
  }
}

/** Creates the budget of one count or page on the main thread. */
function inlineBudget(): Budget {
  let from = -1
  let end = Number.POSITIVE_INFINITY
  let latest = 0
  return (visited) => {
    if (from < 0) from = visited
    const visits = visited - from
    if (visits > MAX_VISITED) throw new BudgetExceeded()
    if (visits === 0 || visits % VISITS_PER_CLOCK !== 0) return
    // Most work ends before the first reading of a clock.
    if (end === Number.POSITIVE_INFINITY) {
      end = readCpuTime() + MAX_TIME
      latest = performance.now() + MAX_WAIT
    } else if (readCpuTime() > end || performance.now() > latest) throw new BudgetExceeded()
  }
}

/** Reads a list on the main thread. Returns undefined if that exceeds its limits. */
function runInline(main: BoundedReader, job: ListJob, counts: ReadLimits['counts']): ReadResult | undefined {
  try {
    return readList(main, job, { count: inlineBudget(), rows: inlineBudget(), unseen: UNSEEN, counts, walk: Number.POSITIVE_INFINITY })
  } catch (error) {
    if (error instanceof BudgetExceeded) return undefined
    throw error
  }
}
