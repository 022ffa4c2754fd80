// Checks that the database accepts writes: a demoted primary and a full disk still answer reads.
import type pg from 'pg'
import { classifyFailure } from './failures.ts'

/** Milliseconds between two trial writes after a refused write. */
const RETRY_AFTER = 1_000

const READ_ONLY = `select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as read_only`

/** A trial write: it takes at least a page of the disk, and gives it back. */
const TRY = `begin; create temporary table stockroom_try on commit drop as select repeat('x', 100) as filler from generate_series(1, 100); rollback`

export class WriteCheck {
  readonly #readers: pg.Pool
  readonly #writers: pg.Pool
  /** The error of the last refused write. */
  #refused: unknown
  #tried = Number.NEGATIVE_INFINITY
  #trying: Promise<void> | undefined

  constructor(readers: pg.Pool, writers: pg.Pool) {
    this.#readers = readers
    this.#writers = writers
  }

  /** Notes a failed write. Call it for each. */
  noteFailure(error: unknown): void {
    if (isRefusal(error)) this.#refused = error
  }

  /** Throws if the database accepts no writes. After a refused write, it tries one at most once a second. */
  async check(): Promise<void> {
    const { rows } = await this.#readers.query<{ read_only: boolean }>(READ_ONLY)
    if (rows[0]?.read_only) throw new DatabaseReadOnly()
    if (this.#refused === undefined) return
    if (performance.now() - this.#tried > RETRY_AFTER) this.#trying ??= this.#try()
    await this.#trying
    if (this.#refused !== undefined) throw this.#refused
  }

  async #try(): Promise<void> {
    try {
      await this.#writers.query(TRY)
      this.#refused = undefined
    } catch (error) {
      // The next check tries again after any error.
      this.#refused = error
    } finally {
      this.#tried = performance.now()
      this.#trying = undefined
    }
  }
}

const isRefusal = (error: unknown) => ['readOnly', 'full'].includes(classifyFailure(error) ?? '')

/** The server is a replica, or is set to read-only. The code is that of a refused write. */
class DatabaseReadOnly extends Error {
  readonly code = '25006'

  constructor() {
    super('The database is read-only')
  }
}
