// What drizzle-kit reads for SQLite, and what the application queries.
import { defineTables } from '../tables.ts'
import * as kit from './kit.ts'

export const {
  categories,
  products,
  keys,
  key_secrets,
  changes,
  cursors,
  idempotency_keys,
  jobs,
  webhooks,
  webhook_secrets,
  webhook_pauses,
  deliveries,
} = defineTables(kit)
