// A thread of the pool: reads the lists that would block the main thread.
import { constants, setPriority } from 'node:os'
import { workerData } from 'node:worker_threads'
import type { ListJob, ReadResult } from './list.ts'
import type { Budget } from './reader.ts'

export interface WorkerData {
  path: string
  /** Not 0 once the database is closing. Statements check it, and end. */
  stopped: Int32Array
}

export interface WorkerJob extends ListJob {
  /** Milliseconds since 1970 at which the job must end. */
  deadline: number
  /** Milliseconds of CPU time for a count that need not be exact. */
  countTime: number
}

/** Visited rows after which a walk along an index is given up for sorting all matches. */
const WALK = 200_000

try {
  // Lower the priority of this thread, so that the main thread goes first. Only Linux has priorities per thread.
  if (process.platform === 'linux') setPriority(constants.priority.PRIORITY_BELOW_NORMAL)
} catch {
  // Not every system allows it, and nothing depends on it.
}

// Load these after lowering the priority, because loading takes CPU time too.
const { readList } = await import('./list.ts')
const { BoundedReader, BudgetExceeded, readCpuTime, VISITS_PER_CLOCK } = await import('./reader.ts')

const { path, stopped } = workerData as WorkerData
const reader = new BoundedReader(path)

/** Creates a budget that ends work at `deadline`, or when the database closes. */
const createDeadlineBudget =
  (deadline: number): Budget =>
  (visited) => {
    if (visited % VISITS_PER_CLOCK === 0 && (Date.now() > deadline || Atomics.load(stopped, 0) !== 0)) throw new BudgetExceeded()
  }

/** Creates a deadline budget that also ends after `time` milliseconds of CPU time, so that other processes do not shorten a count. */
function createWorkBudget(time: number, deadline: number): Budget {
  const outer = createDeadlineBudget(deadline)
  const end = readCpuTime() + time
  return (visited) => {
    outer(visited)
    if (visited % VISITS_PER_CLOCK === 0 && readCpuTime() > end) throw new BudgetExceeded()
  }
}

/** Reads a list. Returns undefined if the deadline passes first. */
export default function read({ deadline, countTime, ...job }: WorkerJob): ReadResult | undefined {
  if (Date.now() > deadline) return undefined
  const rows = createDeadlineBudget(deadline)
  const count = job.count === 'exact' ? rows : createWorkBudget(countTime, deadline)
  try {
    return readList(reader, job, {
      count,
      rows,
      unseen: { rows: Number.POSITIVE_INFINITY, postings: Number.POSITIVE_INFINITY },
      counts: 'partial',
      walk: WALK,
    })
  } catch (error) {
    if (error instanceof BudgetExceeded) return undefined
    throw error
  }
}
