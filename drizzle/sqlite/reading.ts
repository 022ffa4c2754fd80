// Reads lists: at once where that is short, and otherwise in a pool of threads, under a deadline.
import { Piscina } from 'piscina'
import { type Database, QueryTooExpensive } from '../database.ts'
import { checkDeadline, computeLastTry, withDeadline } from '../deadline.ts'
import { buildListKeys, ListMemory } from '../list-memory.ts'
import { listValues, type Selection } from '../selection.ts'
import { type FilterStats, type ListJob, type ReadLimits, type ReadResult, readList } from './list.ts'
import { type BoundedReader, type Budget, BudgetExceeded, readCpuTime, VISITS_PER_CLOCK } from './reader.ts'
import { buildStatements, MAX_DRIVERS } from './statements.ts'
import type { WorkerData, WorkerJob } from './worker.ts'

/** Threads. With eight the main thread would wait for the processor for too long. */
const THREADS = 4
/** Jobs that wait for one of them. */
const MAX_QUEUE = 64
/** Milliseconds after which a thread without work ends. */
const IDLE = 60_000
/** Rows that the main thread visits for a count or a page, milliseconds that it works for it, and that it takes where it waits for the disk. */
const MAX_VISITED = 10_000
const MAX_TIME = 4
const MAX_WAIT = 20
/** What it passes over without being able to stop: rows before a page, and entries of posting lists, some 5 ns each. */
const UNSEEN = { rows: MAX_VISITED, postings: 1_000_000 }

export interface ListReaderOptions {
  path: string
  /** Milliseconds after which a list is given up. */
  timeout: number
  /** Milliseconds of work that a count may take which need not be exact. */
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

  /** Undefined where the deadline comes first, also while the job waits for a thread. */
  async function inPool(job: ListJob, deadline: number): Promise<ReadResult | undefined> {
    const left = deadline - performance.now()
    if (stopped[0] !== 0 || pool.queueSize >= MAX_QUEUE || left <= 0) return undefined
    return withDeadline(deadline, pool.run({ ...job, deadline: Date.now() + left, countTime })).catch((error) => {
      // The threads are ended with what they have left to do.
      if (stopped[0] !== 0 || error instanceof QueryTooExpensive) return undefined
      throw error
    })
  }

  return {
    async list(selection, deadline = performance.now() + timeout) {
      checkDeadline(deadline)
      const { clauses, count } = selection
      const keys = buildListKeys(selection)
      const remembered = clauses.length > 0 ? memory.counts.get(keys.filter) : undefined
      const job = buildJob(selection, memory.findStatements(selection, keys), remembered)
      const counts = remembered && remembered.visitedForCount > MAX_VISITED ? 'none' : 'refused'
      let result = memory.isSlow(keys, selection) ? undefined : runInline(main, job, counts)
      if (!result) {
        result = await inPool(job, computeLastTry(deadline, timeout))
        if (!result || result.visited > MAX_VISITED) memory.noteSlow(keys, selection)
      }
      if (result && clauses.length > 0) memory.counts.set(keys.filter, result.stats)
      // A page that is found at once is not to fail because its count takes long while the pool is full.
      checkDeadline(deadline)
      if (!result && count !== 'exact') result = runInline(main, job, 'partial')
      if (!result) throw new QueryTooExpensive('a list took longer than it may')
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

/** Returns the plain data that `run` takes. */
export function buildJob(selection: Selection, statements: ListJob['statements'], known?: FilterStats): ListJob {
  const { clauses, place, size, count, countLimit } = selection
  return {
    statements,
    values: listValues(selection),
    clauses: clauses.slice(0, MAX_DRIVERS).map(({ isUnindexed: unindexed = false, postings = 0 }) => ({ indexed: !unindexed, postings })),
    place,
    size,
    count,
    countLimit,
    stats: known,
  }
}

function inlineBudget(): Budget {
  let from = -1
  let end = Number.POSITIVE_INFINITY
  let latest = 0
  return (visited) => {
    if (from < 0) from = visited
    const done = visited - from
    if (done > MAX_VISITED) throw new BudgetExceeded()
    if (done === 0 || done % VISITS_PER_CLOCK !== 0) return
    // Most are over before the clock is looked at once.
    if (end === Number.POSITIVE_INFINITY) {
      end = readCpuTime() + MAX_TIME
      latest = performance.now() + MAX_WAIT
    } else if (readCpuTime() > end || performance.now() > latest) throw new BudgetExceeded()
  }
}

/** Undefined where it took too much. */
function runInline(main: BoundedReader, job: ListJob, counts: ReadLimits['counts']): ReadResult | undefined {
  try {
    return readList(main, job, { count: inlineBudget(), rows: inlineBudget(), unseen: UNSEEN, counts, walk: Number.POSITIVE_INFINITY })
  } catch (error) {
    if (error instanceof BudgetExceeded) return undefined
    throw error
  }
}
