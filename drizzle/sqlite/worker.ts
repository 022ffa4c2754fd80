// A thread of the pool: reads lists that would hold up everybody else if the main thread read them.
import { constants, setPriority } from 'node:os'
import { workerData } from 'node:worker_threads'
import type { ListJob, ReadResult } from './list.ts'
import type { Budget } from './reader.ts'

export interface WorkerData {
  path: string
  /** Not 0 once the database is being closed: statements end at the next look at it. */
  stopped: Int32Array
}

export interface WorkerJob extends ListJob {
  /** When it must end, in milliseconds since 1970. */
  deadline: number
  /** Milliseconds of work that a count may take which need not be exact. */
  countTime: number
}

/** Rows after which a walk along an index is given up for sorting all that matches. */
const WALK = 200_000

try {
  // Of this thread alone, where the system has threads with priorities of their own (Linux): the main thread goes first.
  if (process.platform === 'linux') setPriority(constants.priority.PRIORITY_BELOW_NORMAL)
} catch {
  // Not everywhere allowed, and nothing rests on it.
}

// Behind that: what is loaded takes the processor for a while too.
const { readList } = await import('./list.ts')
const { BoundedReader, BudgetExceeded, readCpuTime, VISITS_PER_CLOCK } = await import('./reader.ts')

const { path, stopped } = workerData as WorkerData
const reader = new BoundedReader(path)

/** Ends what goes on until `deadline`, or until the database is closed. */
const createDeadlineBudget =
  (deadline: number): Budget =>
  (visited) => {
    if (visited % VISITS_PER_CLOCK === 0 && (Date.now() > deadline || Atomics.load(stopped, 0) !== 0)) throw new BudgetExceeded()
  }

/** The same, and ends after some time of this thread's own: how far a count goes is not to depend on what else the processor does. */
function createWorkBudget(time: number, deadline: number): Budget {
  const outer = createDeadlineBudget(deadline)
  const end = readCpuTime() + time
  return (visited) => {
    outer(visited)
    if (visited % VISITS_PER_CLOCK === 0 && readCpuTime() > end) throw new BudgetExceeded()
  }
}

/** Undefined where the deadline came first. */
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
