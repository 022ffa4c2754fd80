// What drizzle-kit reads for SQLite, and what the application queries.
import { defineTables } from '../tables.ts'
import * as kit from './kit.ts'

export const { categories, products, keys, key_secrets, changes, idempotency_keys } = defineTables(kit)
