// A connection that reads, and can be stopped: SQLite calls `tick()` while it visits rows, and an error in there ends the statement.
// Threads that read lists load it, and Drizzle would take 70 MB of memory in each of them.
import { randomInt } from 'node:crypto'
import Driver from 'better-sqlite3'
import { PreparedStatements } from './prepared.ts'

/** Work went beyond its budget. */
export class BudgetExceeded extends Error {}

/** Asked now and then while rows are visited, with the number of them. Throws to end the work. */
export type Budget = (visited: number) => void

/** Rows that are visited for each call of `tick()`, which takes as long as to visit several. A power of two. */
export const VISITS_PER_TICK = 64

/** Bits of `salt()`. A product with an id below 2^37 is still a whole number of SQLite's. */
const SALT_BITS = 26
const SAMPLE_BITS = Math.log2(VISITS_PER_TICK)

/** The highest bits of an id times `salt()`: all of them are 0 for one row in VISITS_PER_TICK. */
export const SAMPLE_MASK = (VISITS_PER_TICK - 1) << (SALT_BITS - SAMPLE_BITS)

/** A random odd number. */
const createSalt = () => BigInt(randomInt(2 ** (SALT_BITS - 1)) * 2 + 1)

/** Rows between two looks at a clock, which takes longer than to visit one. */
export const VISITS_PER_CLOCK = 256

/** Milliseconds that this thread has run: by a clock on the wall, what is short would be long whenever others have the processor. */
export function readCpuTime(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

/** Milliseconds that a reader waits. In WAL mode it has to only while the file is recovered after a crash. */
const BUSY_TIMEOUT = 1_000

export class BoundedReader extends PreparedStatements {
  /** Rows visited since `view` began, estimated from a random sample of one in VISITS_PER_TICK. */
  visited = 0
  /** Rows that a count has found to match. Exact, and never more than do. */
  matched = 0
  readonly #begin: Driver.Statement
  readonly #commit: Driver.Statement
  #budget: Budget = () => {}

  constructor(path: string) {
    super(new Driver(path, { readonly: true, timeout: BUSY_TIMEOUT }))
    // SQLite calls it once for each execution of a statement. So the sample differs each time, and no choice of rows evades it.
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

  /** Runs `work`, all of whose reads see the rows of one moment. */
  inSnapshot<T>(work: () => T): T {
    this.visited = 0
    this.#begin.run()
    try {
      return work()
    } finally {
      this.#commit.run()
    }
  }

  /** Runs `work` under a budget, which holds in place of an outer one until it ends. */
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
