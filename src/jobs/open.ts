// Opens the job queue in the storage that the engine of the database names.
import { BossQueue } from './boss.ts'
import type { Queue, QueueOptions } from './queue.ts'
import { TableQueue } from './table.ts'

export function openQueue(options: QueueOptions): Queue {
  const { db, policies } = options
  return db.queue.kind === 'table' ? new TableQueue(db, policies) : new BossQueue({ ...options, connections: db.queue.connections })
}
