// A thread of the pool: reads lists that would hold up everybody else if the main thread read them.
import { constants, setPriority } from 'node:os'
import { workerData } from 'node:worker_threads'
import type { Job, Result } from './list.ts'
import type { Budget } from './reader.ts'

export interface WorkerData {
  path: string
  /** Not 0 once the database is being closed: statements end at the next look at it. */
  stopped: Int32Array
}

export interface LongJob extends Job {
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
const { run } = await import('./list.ts')
const { CLOCK, cpuTime, Exceeded, Reader } = await import('./reader.ts')

const { path, stopped } = workerData as WorkerData
const reader = new Reader(path)

/** Ends what goes on until `deadline`, or until the database is closed. */
const until =
  (deadline: number): Budget =>
  (visited) => {
    if (visited % CLOCK === 0 && (Date.now() > deadline || Atomics.load(stopped, 0) !== 0)) throw new Exceeded()
  }

/** The same, and ends after some time of this thread's own: how far a count goes is not to depend on what else the processor does. */
function working(time: number, deadline: number): Budget {
  const outer = until(deadline)
  const end = cpuTime() + time
  return (visited) => {
    outer(visited)
    if (visited % CLOCK === 0 && cpuTime() > end) throw new Exceeded()
  }
}

/** Undefined where the deadline came first. */
export default function read({ deadline, countTime, ...job }: LongJob): Result | undefined {
  if (Date.now() > deadline) return undefined
  const rows = until(deadline)
  const count = job.count === 'exact' ? rows : working(countTime, deadline)
  try {
    return run(reader, job, {
      count,
      rows,
      unseen: { rows: Number.POSITIVE_INFINITY, postings: Number.POSITIVE_INFINITY },
      counts: 'partial',
      walk: WALK,
    })
  } catch (error) {
    if (error instanceof Exceeded) return undefined
    throw error
  }
}
