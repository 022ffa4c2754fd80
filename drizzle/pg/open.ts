// PostgreSQL: a pool of connections.
import { getTableName, type SQL, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import pg from 'pg'
import {
  causes,
  type Database,
  DatabaseUnusable,
  type Dialect,
  type Failure,
  failureOf,
  outermost,
  type Queries,
  type Served,
} from '../database.ts'
import { checkMigrated, type Derived, migrate } from '../migrations.ts'
import type { Kit, Tables } from '../tables.ts'
import { counterTable, counterTriggers } from './counters.ts'
import { kit } from './schema.ts'
import { contains, grams, searchIndex } from './search.ts'

const MIGRATIONS = new URL('migrations/', import.meta.url)

/** Connections of one process. Writers that wait for each other must not keep readers waiting, so each have their own. */
const READERS = 6
const WRITERS = 4
/** Milliseconds to wait for one of them. */
const CONNECT_TIMEOUT = 5_000
/** How often a transaction runs that the engine ended to resolve a deadlock. */
const ATTEMPTS = 5

/** Any number, as long as nothing else in the database locks by it. */
const MIGRATION_LOCK = 7_625_001

/** Plans made for the values at hand: after five runs PostgreSQL would otherwise plan for any value, which is up to a thousand times slower here. */
const SETTINGS = '-c timezone=UTC -c datestyle=ISO -c plan_cache_mode=force_custom_plan'

/** Others may still refer to the row. */
const FOR_UPDATE = sql` for no key update`

const dialect: Dialect = {
  anyOf: (column, values) => sql`${column} = any(${sql.param(values.map((value) => column.mapToDriverValue(value)))})`,
  contains,
  forUpdate: FOR_UPDATE,
  lock: (tx, table, id) =>
    tx.all(
      id === undefined
        ? sql`select pg_advisory_xact_lock(hashtext(${getTableName(table)}))`
        : sql`select 1 from ${table} where id = ${id}${FOR_UPDATE}`,
    ),
}

/** By SQLSTATE, by Node's code where no connection was made, or by the driver's words where it gives no code. */
const failures: Record<string, Failure> = {
  '23505': 'unique',
  '23503': 'reference',
  '23001': 'reference',
  '53300': 'unavailable',
  '57P01': 'unavailable',
  '57P02': 'unavailable',
  '57P03': 'unavailable',
  '08006': 'unavailable',
  ECONNREFUSED: 'unavailable',
  ECONNRESET: 'unavailable',
  ENOTFOUND: 'unavailable',
  ETIMEDOUT: 'unavailable',
  EPIPE: 'unavailable',
  'Connection terminated': 'unavailable',
  'Connection terminated unexpectedly': 'unavailable',
  'Client has encountered a connection error and is not queryable': 'unavailable',
  'Client was closed and is not queryable': 'unavailable',
  'Connection terminated due to connection timeout': 'unavailable',
  'timeout exceeded when trying to connect': 'unavailable',
}

export async function open(url: string, served: readonly Served[], tables: (kit: Kit) => Tables): Promise<Database> {
  const readers = pool(url, READERS)
  const writers = pool(url, WRITERS)
  const derived = [counterTable, grams, ...served.flatMap(derive)]
  const read = queries(drizzle(readers))
  const exclusive = outermost()

  const write: Database['write'] = (work) => exclusive(() => retry(() => transaction(writers, 'begin', work)))
  return {
    tables: tables(kit),
    dialect,
    read,
    snapshot: (work) => transaction(readers, 'begin isolation level repeatable read, read only', work),
    write,
    bulk: async (work) => {
      const client = await writers.connect()
      try {
        return await work(queries(drizzle(client)), (merge) =>
          exclusive(() => retry(() => client.query('begin').then(() => toTheEnd(client, merge)))),
        )
      } finally {
        // Not given back to the pool: its temporary tables would be there for the next one.
        client.release(true)
      }
    },
    migrate: () =>
      write(async (tx) => {
        await tx.run(sql`select pg_advisory_xact_lock(${MIGRATION_LOCK})`)
        await checkUsable(tx)
        return migrate(tx, MIGRATIONS, derived)
      }),
    ready: () => checkMigrated(read, MIGRATIONS, derived),
    failure: (error) => failureOf(error, failures),
    close: async () => {
      await Promise.all([readers.end(), writers.end()])
    },
  }
}

function pool(connectionString: string, max: number): pg.Pool {
  const connections = new pg.Pool({ connectionString, max, connectionTimeoutMillis: CONNECT_TIMEOUT, options: SETTINGS })
  // A connection that the server ends is replaced, and what was under way on it fails; without a listener the process would end.
  connections.on('error', () => {})
  connections.on('connect', (client) => client.on('error', () => {}))
  return connections
}

const derive = (served: Served): Derived[] => [counterTriggers(served), ...(served.folded.length > 0 ? [searchIndex(served, dialect)] : [])]

/** SQLite's Drizzle can run a piece of SQL with or without rows; PostgreSQL's learns the same two words here. */
function queries(db: { execute(query: SQL): PromiseLike<{ rows: unknown[] }> }): Queries {
  const raw = { all: async (query: SQL) => (await db.execute(query)).rows, run: (query: SQL) => db.execute(query) }
  return Object.assign(db, raw) as unknown as Queries
}

async function transaction<T>(from: pg.Pool, begin: string, work: (tx: Queries) => Promise<T>): Promise<T> {
  const client = await begun(from, begin)
  try {
    return await toTheEnd(client, work)
  } finally {
    client.release()
  }
}

/** A connection that the server ended while it was idle may only be noticed when it is used. Nothing is lost then, and another is taken. */
async function begun(from: pg.Pool, begin: string): Promise<pg.PoolClient> {
  for (let others = from.options.max; ; others--) {
    const client = await from.connect()
    try {
      await client.query(begin)
      return client
    } catch (error) {
      client.release(true)
      if (others === 0 || failureOf(error, failures) !== 'unavailable') throw error
    }
  }
}

async function toTheEnd<T>(client: pg.PoolClient, work: (tx: Queries) => Promise<T>): Promise<T> {
  try {
    const result = await work(queries(drizzle(client)))
    const { command } = await client.query('commit')
    // A transaction in which a statement failed is rolled back instead, and PostgreSQL does not call that an error.
    if (command !== 'COMMIT') throw new Error('a statement failed and the work went on: the transaction was rolled back')
    return result
  } catch (error) {
    // On a connection that is gone there is nothing to roll back.
    await client.query('rollback').catch(() => {})
    throw error
  }
}

/** Two transactions that wait for each other, or of which one must see the other's rows: PostgreSQL ends one, and it can run again. */
const RETRIED = ['40001', '40P01']

async function retry<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === ATTEMPTS || !causes(error).some(({ code }) => RETRIED.includes(String(code)))) throw error
    }
  }
}

/** pg_trgm takes its idea of a letter from the database's LC_CTYPE; under "C" it finds none in Chinese, and search would read every row. */
async function checkUsable(tx: Queries): Promise<void> {
  await tx.run(sql`create extension if not exists pg_trgm`)
  const [encoding] = await tx.all<{ server_encoding: string }>(sql`show server_encoding`)
  if (encoding?.server_encoding === 'UTF8') {
    const [letters] = await tx.all<{ count: number }>(sql`select cardinality(show_trgm('麥包'))::int as count`)
    if (letters && letters.count > 0) return
  }
  throw new DatabaseUnusable(
    "PostgreSQL does not know the letters of every script in this database. Create one that does: create database stockroom template template0 encoding 'UTF8' locale 'C.UTF-8'",
  )
}
