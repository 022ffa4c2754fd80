// Opens the database that a URL names.
import type { Database } from './database.ts'
import type { OpenOptions } from './engine.ts'
import type { Kit } from './served.ts'
import { defineTables, type Tables } from './tables.ts'

const QUERY_TIMEOUT = 2_000

const sqlite = () => import('./sqlite/open.ts')
const postgres = () => import('./pg/open.ts')

/** Only that which is needed is loaded. */
const engines = { 'file:': sqlite, 'postgres:': postgres, 'postgresql:': postgres } as const

/** The protocols of the databases that there are. */
export const PROTOCOLS = Object.keys(engines)

// An application that adds to Tables makes its own function too.
const ownTables = defineTables as (kit: Kit) => Tables

/** Opens `url` (`file:./data/stockroom.db`, `postgres://user:password@host/database`). Throws DatabaseUnusable where it cannot serve. */
export async function open(url: string, { served, tables = ownTables, queryTimeout = QUERY_TIMEOUT }: OpenOptions): Promise<Database> {
  const engine = engines[url.slice(0, url.indexOf(':') + 1) as keyof typeof engines]
  if (!engine) throw new TypeError(`a database URL begins with one of ${PROTOCOLS.join(', ')}`)
  const { open } = await engine()
  return open(url, { served, tables, queryTimeout })
}
