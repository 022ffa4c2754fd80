// Whether the database takes writes: a demoted primary and a full disk go on answering reads.
import type pg from 'pg'
import { classifyFailure } from './failures.ts'

/** Milliseconds between two tries of a database that refused a write. */
const RETRY_AFTER = 1_000

const READ_ONLY = `select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as read_only`

/** Takes space on the disk, a page of it at least, and gives it back. */
const TRY = `begin; create temporary table stockroom_try on commit drop as select repeat('x', 100) as filler from generate_series(1, 100); rollback`

export class WriteCheck {
  readonly #readers: pg.Pool
  readonly #writers: pg.Pool
  /** Why the last write was refused. */
  #refused: unknown
  #tried = Number.NEGATIVE_INFINITY
  #trying: Promise<void> | undefined

  constructor(readers: pg.Pool, writers: pg.Pool) {
    this.#readers = readers
    this.#writers = writers
  }

  /** To be told of every write that fails. */
  noteFailure(error: unknown): void {
    if (isRefusal(error)) this.#refused = error
  }

  /** Throws where the database takes no writes. Tries one, at most once a second, while the last was refused. */
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
      // Whatever it is: the next look tries again.
      this.#refused = error
    } finally {
      this.#tried = performance.now()
      this.#trying = undefined
    }
  }
}

const isRefusal = (error: unknown) => ['readOnly', 'full'].includes(classifyFailure(error) ?? '')

/** The server is a replica, or was told to take no writes. The code is that of a write that it refuses. */
class DatabaseReadOnly extends Error {
  readonly code = '25006'

  constructor() {
    super('the database is read-only')
  }
}
