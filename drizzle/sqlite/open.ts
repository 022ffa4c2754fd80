// Opens SQLite in one file: a reader that sees committed rows only, and a writer that runs one transaction at a time.
import { setTimeout } from 'node:timers/promises'
import Driver from 'better-sqlite3'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { createCompatibilityCheck } from '../compatibility.ts'
import {
  type Database,
  DatabaseBusy,
  type Dialect,
  type Failure,
  findFailure,
  forbidNesting,
  type Queries,
  type ServedResource,
} from '../database.ts'
import { feedTable } from '../feed.ts'
import type { DerivedPart } from '../migrations.ts'
import type { EngineOptions } from '../open-options.ts'
import { createSecretLoader, secretTable } from '../secrets.ts'
import { COUNT_TIME } from '../selection.ts'
import { createSerialiser } from '../serialise.ts'
import { buildSchemaParts, listIndexes, listReferences } from './catalogue.ts'
import { buildCounterTriggers, counterTable } from './counters.ts'
import { configure, createFile, explain, SYNC_AT_COMMIT, SYNC_LATER } from './file.ts'
import * as kit from './kit.ts'
import { migrateSqlite } from './migrate.ts'
import { PreparedStatements } from './prepared.ts'
import { BoundedReader } from './reader.ts'
import { createListReader } from './reading.ts'
import { buildSearchIndex, contains } from './search.ts'
import { watchState } from './state.ts'
import { buildIdIndex, compile } from './statements.ts'
import { SYNC_FAILED, WalSync } from './wal-sync.ts'

const MIGRATIONS = new URL('migrations/', import.meta.url)

/** Key of everything that uses the writing connection, one at a time. */
const WRITER = 'writer'

/** Milliseconds that a write waits for the write of another process. */
const BUSY_LIMIT = 5_000
/** Milliseconds between two attempts. */
const BUSY_RETRY = 10

/** Milliseconds that a bulk merge waits. It lets other writers go first. */
const BULK_BUSY_LIMIT = 60_000
/** Milliseconds between two merges of a bulk, long enough for several attempts of other writers. */
const BULK_PAUSE = 3 * BUSY_RETRY

const dialect: Dialect = {
  matchAny: (column, values) => ({
    values: [JSON.stringify(values.map((value) => column.mapToDriverValue(value)))],
    // The plus disables the index of the column. SQLite would look the values up one by one, and read all their rows before the first.
    check: (list) => sql`+${column} in (select value from json_each(${list}))`,
    selectIds: (guard, list) =>
      sql`select id from ${column.table} where ${guard(sql`id`)} and ${column} in (select value from json_each(${list}))`,
  }),
  contains,
  matchSubquery: (column, query) => sql`${column} in (${query})`,
  listIndexes,
  listReferences,
  // A write transaction locks the whole file.
  forUpdate: sql``,
  lock: async () => {},
  lockNames: async () => {},
  tryLock: async () => true,
  // Transactions run one at a time, so ids follow the order of commits.
  logOrder: { isAfter: (change) => sql`id > ${change}`, isSettled: sql`true`, ascending: sql`id`, descending: sql`id desc` },
  computedColumns: [],
}

/** Classes of failures by SQLite's extended result code. */
const failures: Record<string, Failure> = {
  SQLITE_CONSTRAINT_UNIQUE: 'unique',
  SQLITE_CONSTRAINT_FOREIGNKEY: 'reference',
  SQLITE_CONSTRAINT_TRIGGER: 'reference',
  SQLITE_BUSY: 'busy',
  SQLITE_BUSY_SNAPSHOT: 'busy',
  SQLITE_BUSY_RECOVERY: 'busy',
  SQLITE_FULL: 'full',
  SQLITE_CANTOPEN: 'unavailable',
  SQLITE_READONLY: 'readOnly',
  [SYNC_FAILED]: 'unavailable',
}

export async function open(url: string, { served, tables: defineTables, queryTimeout, onFatal }: EngineOptions): Promise<Database> {
  const path = url.slice('file:'.length)
  const writer = await openWriter(path)
  const walSync = new WalSync(path, onFatal)
  const countChanges = writer.prepare<[], number>('select total_changes()').pluck()
  const reader = new BoundedReader(path)
  const { list, interrupt, close } = createListReader(reader, { path, timeout: queryTimeout, countTime: COUNT_TIME })

  const watcher = watchState(path)
  const derived = [counterTable, secretTable, feedTable, ...served.flatMap(listDerived)]
  const tx = createQueries(writer)
  const read = createQueries(reader.connection, reader)
  const serialise = createSerialiser()
  const runOutermost = forbidNesting()

  const tables = defineTables(kit)
  const parts = buildSchemaParts(tables)
  const checkCompatible = createCompatibilityCheck(MIGRATIONS, derived, parts)

  return {
    tables,
    dialect,
    queue: { kind: 'table' },
    read,
    list,
    readState: watcher.readState,
    readRows: read.runPrepared,
    loadSecret: createSecretLoader(read),
    async write(work) {
      const deadline = computeBusyDeadline()
      const runInTurn = async () => {
        walSync.check()
        const before = countChanges.get()
        const result = await runTransaction(writer, () => work(tx), deadline)
        // Awaited after this transaction's turn: the next transaction runs meanwhile, and shares the next sync with those after it.
        return { result, durable: countChanges.get() === before ? undefined : walSync.commit() }
      }
      const { result, durable } = await runOutermost(() => serialise(WRITER, runInTurn)).finally(watcher.noteWrite)
      await durable
      return result
    },
    awaitDurable: () => walSync.settle(),
    runBulk: async (work) => {
      const connection = new Driver(path, { timeout: 0 })
      try {
        await retryWhileBusy(() => configure(connection, SYNC_AT_COMMIT))
        const staging = createQueries(connection)
        let pause = 0
        return await work(staging, async (merge) => {
          await setTimeout(pause)
          pause = BULK_PAUSE
          const deadline = performance.now() + BULK_BUSY_LIMIT
          return runOutermost(() => runTransaction(connection, () => merge(staging), deadline)).finally(watcher.noteWrite)
        })
      } finally {
        connection.close()
      }
    },
    migrate: () =>
      serialise(WRITER, async () => {
        // Rebuilding a table drops it, and with foreign keys on that would delete the rows that refer to it.
        // The pragma has no effect inside a transaction.
        writer.pragma('foreign_keys = off')
        try {
          const steps = await runTransaction(writer, () => migrateSqlite(writer, tx, MIGRATIONS, derived, parts))
          await walSync.commit()
          return steps
        } finally {
          writer.pragma('foreign_keys = on')
        }
      }),
    checkReady: () => checkCompatible(read),
    classifyFailure: (error) => findFailure(error, failures),
    interrupt,
    close: () =>
      serialise(WRITER, async () => {
        await close()
        reader.connection.close()
        await watcher.close()
        await walSync.close()
        writer.close()
      }),
  }
}

/** Opens the file for writing, and creates it if it does not exist. Throws DatabaseUnusable or DatabaseBusy. */
async function openWriter(path: string): Promise<Driver.Database> {
  try {
    createFile(path)
    const writer = new Driver(path, { timeout: 0 })
    await retryWhileBusy(() => configure(writer, SYNC_LATER))
    return writer
  } catch (error) {
    throw explain(error, path)
  }
}

/** Combines Drizzle's builders with prepared statements. */
function createQueries(connection: Driver.Database, statements = new PreparedStatements(connection)): Queries {
  const methods: Pick<Queries, 'runPrepared'> = { runPrepared: async (query, values) => statements.all(compile(query), values) }
  return Object.assign(drizzle(connection), methods) as unknown as Queries
}

const listDerived = (served: ServedResource): DerivedPart[] => [
  buildCounterTriggers(served),
  buildIdIndex(served),
  ...(served.foldedFields.length > 0 ? [buildSearchIndex(served, dialect)] : []),
]

async function runTransaction<T>(writer: Driver.Database, work: () => Promise<T>, deadline = computeBusyDeadline()): Promise<T> {
  await retryWhileBusy(() => writer.exec('begin immediate'), deadline)
  try {
    const result = await work()
    writer.exec('commit')
    return result
  } catch (error) {
    // SQLite rolls back by itself if the disk is full.
    if (writer.inTransaction) writer.exec('rollback')
    throw error
  }
}

/** Computes the deadline of a write from now. Writes in the queue wait at the same time, not one after the other. */
const computeBusyDeadline = () => performance.now() + BUSY_LIMIT

/** Retries from the event loop until `deadline`. SQLite's own busy timeout would block every other request of this process. */
async function retryWhileBusy(attempt: () => unknown, deadline = computeBusyDeadline()): Promise<void> {
  for (;;) {
    try {
      attempt()
      return
    } catch (error) {
      if (findFailure(error, failures) !== 'busy') throw error
      if (performance.now() > deadline)
        throw new DatabaseBusy('The database is locked by another process. Wait until that process has ended, and try again.', {
          cause: error,
        })
      await setTimeout(BUSY_RETRY)
    }
  }
}
