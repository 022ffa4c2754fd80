// SQLite in one file: a reader that sees committed rows only, and a writer that takes transactions in turn.
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
import type { EngineOptions } from '../engine.ts'
import { feedTable } from '../feed.ts'
import type { DerivedPart } from '../migrations.ts'
import { createSecretLoader, secretTable } from '../secrets.ts'
import { COUNT_TIME } from '../selection.ts'
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

/** Milliseconds that a write waits for another process to end its own, and between two tries. */
const BUSY_LIMIT = 5_000
const BUSY_RETRY = 10

/** Milliseconds that a bulk merge waits for its turn: it comes after others on purpose. */
const BULK_BUSY_LIMIT = 60_000
/** Milliseconds between two merges of a bulk: others try several times in them. */
const BULK_PAUSE = 3 * BUSY_RETRY

const dialect: Dialect = {
  matchAny: (column, values) => ({
    values: [JSON.stringify(values.map((value) => column.mapToDriverValue(value)))],
    // The plus keeps the index of the column out of it: its values would be looked up one after the other, all of their rows before the first.
    check: (stored) => sql`+${column} in (select value from json_each(${stored}))`,
    selectIds: (guard, stored) =>
      sql`select id from ${column.table} where ${guard(sql`id`)} and ${column} in (select value from json_each(${stored}))`,
  }),
  contains,
  matchSubquery: (column, query) => sql`${column} in (${query})`,
  listIndexes: listIndexes,
  listReferences: listReferences,
  // A write transaction has the whole file to itself.
  forUpdate: sql``,
  lock: async () => {},
  lockNames: async () => {},
  tryLock: async () => true,
  // Transactions run in turn.
  logOrder: { isAfter: (change) => sql`id > ${change}`, isSettled: sql`true`, ascending: sql`id`, descending: sql`id desc` },
  computedColumns: [],
}

/** By SQLite's extended result code. */
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

export async function open(url: string, { served, tables, queryTimeout, onFatal }: EngineOptions): Promise<Database> {
  const path = url.slice('file:'.length)
  const writer = await openWriter(path)
  const walSync = new WalSync(path, onFatal)
  const countChanges = writer.prepare<[], number>('select total_changes()').pluck()
  const reader = new BoundedReader(path)
  const { list, interrupt, close } = createListReader(reader, { path, timeout: queryTimeout, countTime: COUNT_TIME })

  const watched = watchState(path)
  const derived = [counterTable, secretTable, feedTable, ...served.flatMap(listDerived)]
  const tx = createQueries(writer)
  const read = createQueries(reader.connection, reader)
  const inTurn = createQueue()
  const exclusive = forbidNesting()

  const declared = tables(kit)
  const parts = buildSchemaParts(declared)
  const checkCompatible = createCompatibilityCheck(MIGRATIONS, derived, parts)

  return {
    tables: declared,
    dialect,
    queue: { kind: 'table' },
    read,
    list,
    readState: watched.readState,
    readRows: read.runPrepared,
    loadSecret: createSecretLoader(read),
    async write(work) {
      const deadline = computeBusyDeadline()
      const runInTurn = async () => {
        walSync.check()
        const before = countChanges.get()
        const result = await runTransaction(writer, () => work(tx), deadline)
        // Begun here, and awaited after the turn: the next transaction runs meanwhile, and shares the next sync with those after it.
        return { result, durable: countChanges.get() === before ? undefined : walSync.commit() }
      }
      const { result, durable } = await exclusive(() => inTurn(runInTurn)).finally(watched.noteWrite)
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
          return exclusive(() => runTransaction(connection, () => merge(staging), deadline)).finally(watched.noteWrite)
        })
      } finally {
        connection.close()
      }
    },
    migrate: () =>
      inTurn(async () => {
        // A rebuilt table is dropped on the way, and with foreign keys on so would be the rows that refer to it.
        // The switch does nothing inside a transaction.
        writer.pragma('foreign_keys = off')
        try {
          const applied = await runTransaction(writer, () => migrateSqlite(writer, tx, MIGRATIONS, derived, parts))
          await walSync.commit()
          return applied
        } finally {
          writer.pragma('foreign_keys = on')
        }
      }),
    checkReady: () => checkCompatible(read),
    classifyFailure: (error) => findFailure(error, failures),
    interrupt,
    close: () =>
      inTurn(async () => {
        await close()
        reader.connection.close()
        watched.close()
        await walSync.close()
        writer.close()
      }),
  }
}

/** Opens the file for writing, and creates it where there is none. Throws DatabaseUnusable, and DatabaseBusy. */
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

/** Drizzle's own builders, and statements that are prepared once. */
function createQueries(connection: Driver.Database, statements = new PreparedStatements(connection)): Queries {
  const runPrepared: Queries['runPrepared'] = async (query, values) => statements.all(compile(query), values)
  return Object.assign(drizzle(connection), { runPrepared }) as unknown as Queries
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
    // SQLite has rolled back by itself where the disk was full.
    if (writer.inTransaction) writer.exec('rollback')
    throw error
  }
}

/** Counted from when a write was asked for: those that wait for their turn wait at the same time, not one after the other. */
const computeBusyDeadline = () => performance.now() + BUSY_LIMIT

/** Tries again from the event loop: SQLite's own busy timeout would hold up every other request of this process. */
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

/** Runs one piece of work at a time, in the order in which they came. */
function createQueue() {
  let last: Promise<unknown> = Promise.resolve()
  return <T>(work: () => Promise<T>): Promise<T> => {
    const result = last.then(work)
    last = result.catch(() => {})
    return result
  }
}
