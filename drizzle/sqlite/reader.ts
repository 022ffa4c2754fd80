// A read connection with budgets: SQLite calls `tick()` while it visits rows, and an error in there ends the statement.
// Threads that read lists load this file, and Drizzle would take 70 MB of memory in each of them.
import { randomInt } from 'node:crypto'
import Driver from 'better-sqlite3'
import { PreparedStatements } from './prepared.ts'

/** The work exceeded its budget. */
export class BudgetExceeded extends Error {}

/** Called now and then while rows are visited, with their number so far. Throws BudgetExceeded to end the work. */
export type Budget = (visited: number) => void

/** Visited rows for each call of `tick()`. A call costs as much as visiting several rows. A power of two. */
const VISITS_PER_TICK = 64

/** Bits of `salt()`. Its product with an id below 2^37 still fits SQLite's integers. */
const SALT_BITS = 26
const SAMPLE_BITS = Math.log2(VISITS_PER_TICK)

/** Mask of the highest bits of an id times `salt()`. They are all 0 for one row in VISITS_PER_TICK. */
export const SAMPLE_MASK = (VISITS_PER_TICK - 1) << (SALT_BITS - SAMPLE_BITS)

/** Creates a random odd number. */
const createSalt = () => BigInt(randomInt(2 ** (SALT_BITS - 1)) * 2 + 1)

/** Visited rows between two readings of a clock. A reading costs more than visiting a row. */
export const VISITS_PER_CLOCK = 256

/** Reads the milliseconds of CPU time of this thread. By a wall clock, short work would seem long whenever other processes run. */
export function readCpuTime(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

/** Milliseconds that a reader waits for a lock. In WAL mode it waits only while the file is recovered after a crash. */
const BUSY_TIMEOUT = 1_000

/** A read connection whose work can be bounded. */
export class BoundedReader extends PreparedStatements {
  /** Rows visited since `inSnapshot` began, estimated from a random sample of one in VISITS_PER_TICK. */
  visited = 0
  /** Matches that a count has found so far. It is exact, and never exceeds the number of matches. */
  matched = 0
  readonly #begin: Driver.Statement
  readonly #commit: Driver.Statement
  #budget: Budget = () => {}

  constructor(path: string) {
    super(new Driver(path, { readonly: true, timeout: BUSY_TIMEOUT }))
    // SQLite calls it once for each execution of a statement, so the sample differs each time and no choice of rows evades it.
    this.connection.function('salt', { deterministic: true }, createSalt)
    this.connection.function('tick', () => {
      this.visited += VISITS_PER_TICK
      this.#budget(this.visited)
      return 1
    })
    this.connection.function('matched', () => {
      this.matched++
      return 1
    })
    this.#begin = this.connection.prepare('begin')
    this.#commit = this.connection.prepare('commit')
  }

  /** Runs `work` in a transaction, so that all its reads see the same moment. */
  inSnapshot<T>(work: () => T): T {
    this.visited = 0
    this.#begin.run()
    try {
      return work()
    } finally {
      this.#commit.run()
    }
  }

  /** Runs `work` under a budget, which replaces an outer budget until the work ends. */
  withBudget<T>(budget: Budget, work: () => T): T {
    const outer = this.#budget
    this.#budget = budget
    try {
      return work()
    } finally {
      this.#budget = outer
    }
  }
}
