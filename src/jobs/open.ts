// The queue of a database: pg-boss where it is on a server, and otherwise a table of its own.
import type { Database } from '../../drizzle/database.ts'
import { BossQueue } from './boss.ts'
import type { Queue, Terms } from './queue.ts'
import { TableQueue } from './table.ts'

export interface QueueOptions {
  db: Database
  terms: ReadonlyMap<string, Terms>
  /** Days for which jobs that came to an end are kept. */
  keepDays: number
  /** Whether this process works through it. */
  works: boolean
  onError(error: unknown): void
}

export const openQueue = (options: QueueOptions): Queue =>
  options.db.server === undefined ? new TableQueue(options.db, options.terms) : new BossQueue({ ...options, url: options.db.server })
