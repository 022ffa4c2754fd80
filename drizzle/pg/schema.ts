// What drizzle-kit reads for PostgreSQL.
import type { Kit } from '../stamps.ts'
import { defineTables } from '../tables.ts'
import * as columns from './kit.ts'

/** The one place where PostgreSQL's columns become SQLite's in the types. A name that this kit lacks does not compile. */
export const kit = columns satisfies Record<keyof Kit, unknown> as unknown as Kit

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
