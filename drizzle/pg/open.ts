// Opens PostgreSQL: pools of connections, and transactions with retries.
import { setTimeout } from 'node:timers/promises'
import { getTableName, type SQL, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import type pg from 'pg'
import { createCompatibilityCheck } from '../compatibility.ts'
import { type Database, DatabaseUnusable, type Dialect, forbidNesting, listCauses, type Queries, type ServedResource } from '../database.ts'
import { feedTable } from '../feed.ts'
import { type DerivedPart, migrate } from '../migrations.ts'
import type { EngineOptions } from '../open-options.ts'
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
/** Milliseconds for a statement of the short pool. */
const SHORT = 50
/** Milliseconds that a write waits for another transaction. */
const LOCK_LIMIT = 5_000
/** Milliseconds for a statement of a write. */
const WRITE_LIMIT = 7_000
/** Milliseconds for a statement of the job queue. Its maintenance takes longer than a claim. */
const JOBS_LIMIT = 20_000

/**
 * Creates the pools of one process. Short reads must not wait for writers or for long lists, so each kind has a pool of its own. So have
 * migrations and imports, whose statements have no time limit.
 */
function createPools(url: string, queryTimeout: number, silence: SilenceWatch) {
  const pool = (options: PoolOptions) => createPool(url, options, silence)
  return {
    short: pool({ max: 6, wait: CONNECT_TIMEOUT, statementTimeout: SHORT }),
    long: pool({ max: 4, wait: queryTimeout, statementTimeout: queryTimeout, lockTimeout: queryTimeout * LOCK_SHARE }),
    writers: pool({ max: 4, wait: CONNECT_TIMEOUT, statementTimeout: WRITE_LIMIT, lockTimeout: LOCK_LIMIT }),
    jobs: pool({ max: 4, wait: CONNECT_TIMEOUT, statementTimeout: JOBS_LIMIT }),
    unlimited: pool({ max: 2, wait: CONNECT_TIMEOUT }),
  }
}

/** Attempts of a transaction that PostgreSQL ended to resolve a conflict. */
const ATTEMPTS = 5

/** An arbitrary number for the advisory lock of migrations. */
const MIGRATION_LOCK = 7_625_001

/** Locks rows, but lets other transactions refer to them. */
const FOR_UPDATE = sql` for no key update`

const dialect: Dialect = {
  matchAny: (column, values) => ({
    values: [values.map((value) => column.mapToDriverValue(value))],
    check: (all) => sql`${column} = any(${all})`,
  }),
  contains,
  // PostgreSQL evaluates an array before the rest of the plan. It would join a subquery of unknown size with the whole table.
  matchSubquery: (column, query) => sql`${column} = any(array(${query}))`,
  listIndexes,
  listReferences,
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
  logOrder,
  computedColumns: [{ name: 'grams', from: buildGrams }],
}

export async function open(url: string, { served, tables: defineTables, queryTimeout }: EngineOptions): Promise<Database> {
  const silence = new SilenceWatch()
  const pools = createPools(url, queryTimeout, silence)
  const { short, long, writers, jobs, unlimited } = pools
  const derived = [counterTable, secretTable, feedTable, gramsFunction, ...served.flatMap(listDerived)]
  const read = createQueries(long)
  const { list, readRows, interrupt } = createListReader({ short, long }, { timeout: queryTimeout, countTime: COUNT_TIME })
  const watcher = watchState(url, { short, long }, silence)
  const writeCheck = new WriteCheck(short, writers)
  const runOutermost = forbidNesting()

  /** Reports the outcome of a transaction, with its retries, to the watchers. */
  async function noteOutcome<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      writeCheck.noteFailure(error)
      throw error
    } finally {
      // A failed transaction may have committed, for example if the connection was lost after the commit.
      watcher.noteWrite()
    }
  }
  const writeOn = <T>(pool: pg.Pool, work: (tx: Queries) => Promise<T>): Promise<T> =>
    noteOutcome(runOutermost(() => retryConflicts(() => runTransaction(pool, 'begin', (client) => work(createQueries(client))))))
  const tables = defineTables(kit)
  const parts = buildSchemaParts(tables)
  const checkCompatible = createCompatibilityCheck(MIGRATIONS, derived, parts)
  return {
    tables,
    dialect,
    queue: { kind: 'boss', connections: { executeSql: (text, values) => jobs.query(text, values) } },
    read,
    list,
    readState: watcher.readState,
    readRows,
    loadSecret: createSecretLoader(read),
    write: (work) => writeOn(writers, work),
    // The server answers a commit once it is on disk, and shows it to others no earlier.
    awaitDurable: async () => {},
    runBulk: async (work) => {
      const client = await unlimited.connect()
      try {
        const staging = createQueries(client)
        return await work(staging, (merge) =>
          noteOutcome(
            runOutermost(() => retryConflicts(() => client.query('begin').then(() => commitAfter(client, () => merge(staging))))),
          ),
        )
      } finally {
        // Close the connection. In the pool it would bring its temporary tables to the next user.
        client.release(true)
      }
    },
    migrate: async () => {
      try {
        // This fails within seconds if the server accepts connections but does not answer.
        await writeCheck.check()
        return await writeOn(unlimited, async (tx) => {
          await tx.run(sql`select pg_advisory_xact_lock(${MIGRATION_LOCK})`)
          await checkUsable(tx)
          return [...(await migrate(tx, MIGRATIONS, derived, parts)), ...(await adoptForeignLog(tx))]
        })
      } catch (error) {
        throw explain(error, url)
      }
    },
    checkReady: async () => {
      await writeCheck.check()
      await checkCompatible(createQueries(short))
    },
    classifyFailure,
    interrupt,
    close: async () => {
      await watcher.close()
      // End the long pool first: the short one cancels its statements.
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

/** Gives PostgreSQL's Drizzle the methods that SQLite's has, `all` and `run`, and prepared statements. */
function createQueries(client: pg.Pool | pg.PoolClient): Queries {
  const db = drizzle(client)
  const methods: Record<'all' | 'run', (query: SQL) => Promise<unknown>> & Pick<Queries, 'runPrepared'> = {
    all: async (query) => (await db.execute(query)).rows,
    run: (query) => db.execute(query),
    runPrepared: (query, values) => queryRows(client, compile(query), values),
  }
  return Object.assign(db, methods) as unknown as Queries
}

/** SQLSTATE of serialization failures and deadlocks: PostgreSQL ends one of the transactions, and it can run again. */
const RETRYABLE = ['40001', '40P01']
/** Maximum back-off in milliseconds, times the number of the attempt. */
const BACKOFF = 50

/** Runs a transaction again after a conflict, with a random back-off. */
async function retryConflicts<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === ATTEMPTS || !listCauses(error).some(({ code }) => RETRYABLE.includes(String(code)))) throw error
      // Without a random pause, the same transactions would meet again.
      await setTimeout(Math.random() * attempt * BACKOFF)
    }
  }
}

/** Checks that pg_trgm finds the letters of every script. It depends on LC_CTYPE: under "C" it finds none in Chinese, and search would read every row. */
async function checkUsable(tx: Queries): Promise<void> {
  await tx.run(sql`create extension if not exists pg_trgm`)
  const [encoding] = await tx.all<{ server_encoding: string }>(sql`show server_encoding`)
  if (encoding?.server_encoding === 'UTF8') {
    const [letters] = await tx.all<{ count: number }>(sql`select cardinality(show_trgm('麥包'))::int as count`)
    if (letters && letters.count > 0) return
  }
  throw new DatabaseUnusable(
    "The database does not know the letters of every script, so search would not use its index. Create one that does: create database stockroom template template0 encoding 'UTF8' locale 'C.UTF-8'",
  )
}
