// PostgreSQL: pools of connections.
import { setTimeout } from 'node:timers/promises'
import { getTableName, type SQL, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import type pg from 'pg'
import { createCompatibilityCheck } from '../compatibility.ts'
import { type Database, DatabaseUnusable, type Dialect, forbidNesting, listCauses, type Queries, type ServedResource } from '../database.ts'
import type { EngineOptions } from '../engine.ts'
import { feedTable } from '../feed.ts'
import { type DerivedPart, migrate } from '../migrations.ts'
import { createSecretLoader, secretTable } from '../secrets.ts'
import { COUNT_TIME } from '../selection.ts'
import { kit } from './canonical.ts'
import { buildSchemaParts, listIndexes, listReferences } from './catalogue.ts'
import { buildCounterTriggers, counterTable } from './counters.ts'
import { classifyFailure, explain } from './failures.ts'
import { adoptForeignLog, logOrder } from './log.ts'
import { commitAfter, createPool, LOCK_SHARE, type PoolOptions, runTransaction } from './pool.ts'
import { compile, queryRows } from './prepared.ts'
import { createListReader } from './reading.ts'
import { buildGrams, buildSearchIndex, contains, gramsFunction } from './search.ts'
import { SilenceWatch } from './silence.ts'
import { watchState } from './state.ts'
import { WriteCheck } from './writable.ts'

const MIGRATIONS = new URL('migrations/', import.meta.url)

/** Milliseconds to wait for a connection. */
const CONNECT_TIMEOUT = 5_000
/** Milliseconds after which what is read is no longer short. */
const SHORT = 50
/** Milliseconds after which a write that waits for another transaction is given up, and one that takes long. */
const LOCK_LIMIT = 5_000
const WRITE_LIMIT = 7_000
/** Milliseconds for a statement of the queue of jobs: its own maintenance takes longer than a claim. */
const JOBS_LIMIT = 20_000

/**
 * Connections of one process. Neither writers that wait for each other nor lists that take long must keep short reads waiting, so each
 * have their own; so have migrations and imports, whose statements take as long as they take.
 */
function createPools(url: string, queryTimeout: number, silence: SilenceWatch) {
  const pool = (options: PoolOptions) => createPool(url, options, silence)
  return {
    short: pool({ max: 6, wait: CONNECT_TIMEOUT, statementTimeout: SHORT }),
    long: pool({ max: 4, wait: queryTimeout, statementTimeout: queryTimeout, lockTimeout: queryTimeout * LOCK_SHARE }),
    writers: pool({ max: 4, wait: CONNECT_TIMEOUT, statementTimeout: WRITE_LIMIT, lockTimeout: LOCK_LIMIT }),
    jobs: pool({ max: 4, wait: CONNECT_TIMEOUT, statementTimeout: JOBS_LIMIT }),
    unhurried: pool({ max: 2, wait: CONNECT_TIMEOUT }),
  }
}

/** How often a transaction runs that the engine ended to resolve a deadlock. */
const ATTEMPTS = 5

/** Any number, as long as nothing else in the database locks by it. */
const MIGRATION_LOCK = 7_625_001

/** Others may still refer to the row. */
const FOR_UPDATE = sql` for no key update`

const dialect: Dialect = {
  matchAny: (column, values) => ({
    values: [values.map((value) => column.mapToDriverValue(value))],
    check: (all) => sql`${column} = any(${all})`,
  }),
  contains,
  // As an array it is known before the plan is made use of; a subquery of an unknown size would be joined with the whole table.
  matchSubquery: (column, query) => sql`${column} = any(array(${query}))`,
  listIndexes: listIndexes,
  listReferences: listReferences,
  forUpdate: FOR_UPDATE,
  lock: (tx, table, id) =>
    tx.all(
      id === undefined
        ? sql`select pg_advisory_xact_lock(hashtext(${getTableName(table)}))`
        : sql`select 1 from ${table} where id = ${id}${FOR_UPDATE}`,
    ),
  lockNames: (tx, names) =>
    tx.all(sql`select pg_advisory_xact_lock(number) from
      (select distinct hashtextextended(name, 0) as number from unnest(${sql.param([...names])}::text[]) as name order by 1) numbers`),
  tryLock: async (tx, name) => {
    const [row] = await tx.all<{ locked: boolean }>(sql`select pg_try_advisory_xact_lock(hashtextextended(${name}, 0)) as locked`)
    return row?.locked === true
  },
  logOrder: logOrder,
  computedColumns: [{ name: 'grams', from: (texts) => buildGrams(texts) }],
}

export async function open(url: string, { served, tables, queryTimeout }: EngineOptions): Promise<Database> {
  const silence = new SilenceWatch()
  const pools = createPools(url, queryTimeout, silence)
  const { short, long, writers, jobs, unhurried } = pools
  const derived = [counterTable, secretTable, feedTable, gramsFunction, ...served.flatMap(listDerived)]
  const read = createQueries(long)
  const { list, readRows: rows, interrupt } = createListReader({ short, long }, { timeout: queryTimeout, countTime: COUNT_TIME })
  const watched = watchState(url, { short, long }, silence)
  const writable = new WriteCheck(short, writers)
  const exclusive = forbidNesting()

  /** Each of a transaction and its retries, or of what runs them. */
  async function noteOutcome<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      writable.noteFailure(error)
      throw error
    } finally {
      // Whether a transaction that failed was committed is not always known.
      watched.noteWrite()
    }
  }
  const writeOn = <T>(pool: pg.Pool, work: (tx: Queries) => Promise<T>): Promise<T> =>
    noteOutcome(exclusive(() => retryConflicts(() => runTransaction(pool, 'begin', (client) => work(createQueries(client))))))
  const declared = tables(kit)
  const parts = buildSchemaParts(declared)
  const checkCompatible = createCompatibilityCheck(MIGRATIONS, derived, parts)
  return {
    tables: declared,
    dialect,
    queue: { kind: 'boss', connections: { executeSql: (text, values) => jobs.query(text, values) } },
    read,
    list,
    readState: watched.readState,
    readRows: rows,
    loadSecret: createSecretLoader(read),
    write: (work) => writeOn(writers, work),
    // The server answers a commit once it is on disk, and shows it to others no earlier.
    awaitDurable: async () => {},
    runBulk: async (work) => {
      const client = await unhurried.connect()
      try {
        const staging = createQueries(client)
        return await work(staging, (merge) =>
          noteOutcome(exclusive(() => retryConflicts(() => client.query('begin').then(() => commitAfter(client, () => merge(staging)))))),
        )
      } finally {
        // Not given back to the pool: its temporary tables would be there for the next one.
        client.release(true)
      }
    },
    migrate: async () => {
      try {
        // Fails within seconds where the server accepts connections and says nothing.
        await writable.check()
        return await writeOn(unhurried, async (tx) => {
          await tx.run(sql`select pg_advisory_xact_lock(${MIGRATION_LOCK})`)
          await checkUsable(tx)
          return [...(await migrate(tx, MIGRATIONS, derived, parts)), ...(await adoptForeignLog(tx))]
        })
      } catch (error) {
        throw explain(error, url)
      }
    },
    checkReady: async () => {
      await writable.check()
      await checkCompatible(createQueries(short))
    },
    classifyFailure: classifyFailure,
    interrupt,
    close: async () => {
      await watched.close()
      // First those whose statements are cancelled over another one.
      await long.end()
      await Promise.all(Object.values(pools).map((pool) => pool.ended || pool.end()))
      silence.stop()
    },
  }
}

const listDerived = (served: ServedResource): DerivedPart[] => [
  buildCounterTriggers(served),
  ...(served.foldedFields.length > 0 ? [buildSearchIndex(served, dialect)] : []),
]

/** SQLite's Drizzle can run a piece of SQL with or without rows; PostgreSQL's learns the same two words here, and to prepare. */
function createQueries(client: pg.Pool | pg.PoolClient): Queries {
  const db = drizzle(client)
  return Object.assign(db, {
    all: async (query: SQL) => (await db.execute(query)).rows,
    run: (query: SQL) => db.execute(query),
    runPrepared: (query: SQL, values: readonly unknown[]) => queryRows(client, compile(query), values),
  }) as unknown as Queries
}

/** Two transactions that wait for each other, or of which one must see the other's rows: PostgreSQL ends one, and it can run again. */
const RETRYABLE = ['40001', '40P01']
/** Milliseconds, at most so many times the number of the attempt. */
const BACKOFF = 50

async function retryConflicts<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === ATTEMPTS || !listCauses(error).some(({ code }) => RETRYABLE.includes(String(code)))) throw error
      // Those that met would meet again.
      await setTimeout(Math.random() * attempt * BACKOFF)
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
