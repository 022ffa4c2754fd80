// Opens the database of a URL.
import type { Database } from './database.ts'
import type { OpenOptions } from './open-options.ts'
import type { Kit } from './served.ts'
import { defineTables, type Tables } from './tables.ts'

const QUERY_TIMEOUT = 2_000

const sqlite = () => import('./sqlite/open.ts')
const postgres = () => import('./pg/open.ts')

/** Engines by protocol. Only the engine in use is loaded. */
const engines = { 'file:': sqlite, 'postgres:': postgres, 'postgresql:': postgres } as const

/** Protocols of the supported databases. */
export const PROTOCOLS = Object.keys(engines)

// An application that adds tables to the interface `Tables` passes its own function.
const ownTables = defineTables as (kit: Kit) => Tables

/**
 * Opens `url` (`file:./data/stockroom.db`, `postgres://user:password@host/database`). Throws DatabaseUnusable if the database cannot be used,
 * and TypeError for another protocol.
 */
export async function open(
  url: string,
  { served, tables = ownTables, queryTimeout = QUERY_TIMEOUT, onFatal = () => {} }: OpenOptions,
): Promise<Database> {
  const engine = engines[url.slice(0, url.indexOf(':') + 1) as keyof typeof engines]
  if (!engine) throw new TypeError(`A database URL must begin with one of ${PROTOCOLS.join(', ')}`)
  const { open } = await engine()
  return open(url, { served, tables, queryTimeout, onFatal })
}
