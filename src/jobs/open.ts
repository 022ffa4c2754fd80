// The queue of the database that a URL names.
import type { Database } from '../../drizzle/database.ts'
import { BossQueue } from './boss.ts'
import type { Queue, Terms } from './queue.ts'
import { TableQueue } from './table.ts'

export interface QueueOptions {
  url: string
  db: Database
  terms: ReadonlyMap<string, Terms>
  keepDays: number
  /** Whether this process works through it. */
  works: boolean
  onError(error: unknown): void
}

const boss = (options: QueueOptions): Queue => new BossQueue(options)

const engines: Record<string, (options: QueueOptions) => Queue> = {
  'file:': ({ db, terms }) => new TableQueue(db, terms),
  'postgres:': boss,
  'postgresql:': boss,
}

export function openQueue(options: QueueOptions): Queue {
  const engine = engines[options.url.slice(0, options.url.indexOf(':') + 1)]
  if (!engine) throw new TypeError(`there are queues for ${Object.keys(engines).join(', ')}`)
  return engine(options)
}
