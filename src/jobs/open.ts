// The queue of a database: pg-boss where it is on a server, and otherwise a table of its own.
import { BossQueue } from './boss.ts'
import type { Queue, QueueOptions } from './queue.ts'
import { TableQueue } from './table.ts'

export const openQueue = (options: QueueOptions): Queue =>
  options.db.server === undefined ? new TableQueue(options.db, options.terms) : new BossQueue({ ...options, server: options.db.server })
