// The interface of a database. Both engines implement it, and callers cannot tell which one they have.
import { AsyncLocalStorage } from 'node:async_hooks'
import type { KeyObject } from 'node:crypto'
import { getTableColumns, type SQL } from 'drizzle-orm'
import type { BaseSQLiteDatabase, SQLiteColumn, SQLiteTable } from 'drizzle-orm/sqlite-core'
import type { Clause, ListResult, Selection } from './selection.ts'
import type { ServedName, Tables } from './tables.ts'

/** A column of a table. Columns have SQLite's types on both engines. */
export type Column = SQLiteColumn

/** Returns the columns of a table by their names. */
export const columnsByName = (table: SQLiteTable): Record<string, Column> => getTableColumns(table)

/** Maximum age in milliseconds of the state of tables, if other processes write to the same PostgreSQL database. */
export const MAX_STATE_AGE = 500

/** Query builders on a connection or pool. `await` a builder instead of calling its all, get or run, which exist on SQLite only. */
export interface Queries extends Pick<BaseSQLiteDatabase<'async', unknown>, 'select' | 'insert' | 'update' | 'delete' | 'all' | 'run'> {
  /** Runs SQL in which every value is a `placeholder`. Each SQL object is compiled and prepared once. Returns rows of the driver's values. */
  runPrepared(query: SQL, values: readonly unknown[]): Promise<unknown[][]>
}

/** A resource as the database needs it for counters and search text. */
export interface ServedResource {
  table: ServedName
  /** Fields whose folded text is stored: searchable fields and those with a lookup that ignores case. */
  foldedFields: readonly string[]
  /** Folded fields that are looked up whole or by prefix. Each has an index of its own, and at most 255 characters. */
  prefixedFields: readonly string[]
}

/**
 * The class of a failed statement that a caller can handle. `busy` and `locked`: other transactions are in the way. `exhausted`: all
 * connections are in use. `full`: the disk is full.
 */
export type Failure = 'unique' | 'reference' | 'busy' | 'locked' | 'exhausted' | 'readOnly' | 'full' | 'unavailable' | 'expensive'

/** A declared index. A column that is an expression has no name. */
export interface Index {
  name: string
  unique: boolean
  columns: readonly (string | undefined)[]
  /** The condition of a partial index. */
  where?: string
}

/** A declared foreign key. */
export interface Reference {
  columns: readonly string[]
  target: string
}

/** SQL and facts that differ between the engines. They are values, so that query code never asks which engine it has. */
export interface Dialect {
  /** Builds the clause that `column` is one of `values`. They are encoded by the column, and bound as one array. */
  matchAny(column: SQLiteColumn, values: readonly unknown[]): Clause
  /** Builds the clause that some of `fields` contains each of `terms`, ignoring case. No term is empty. `all`: no other field has search text. */
  contains(table: string, id: SQLiteColumn, fields: readonly string[], terms: readonly string[], all?: boolean): Clause
  /** Builds the condition that `column` is one of the ids that `query` selects. It uses the column's index. */
  matchSubquery(column: SQLiteColumn, query: SQL): SQL
  /** Lists the declared indexes of a table. */
  listIndexes(table: SQLiteTable): readonly Index[]
  /** Lists the declared foreign keys of a table. */
  listReferences(table: SQLiteTable): readonly Reference[]
  /** Ends a `select` so that it locks its rows against changes until the transaction ends. */
  forUpdate: SQL
  /** Locks a row, or without an id the tree of `table`, until the transaction ends. */
  lock(tx: Queries, table: SQLiteTable, id?: number): Promise<unknown>
  /** Locks names until the transaction ends. It takes them in one global order, so that callers cannot deadlock. */
  lockNames(tx: Queries, names: readonly string[]): Promise<unknown>
  /** Locks a name until the transaction ends. Returns false if another transaction has locked it. */
  tryLock(tx: Queries, name: string): Promise<boolean>
  logOrder: LogOrder
  /** Columns of search tables that the engine computes from the folded texts. */
  computedColumns: readonly { name: string; from(texts: readonly SQL[]): SQL }[]
}

/**
 * The order of the change log. No entry ever appears before one that was read already. PostgreSQL assigns ids before their transactions
 * commit, so the order there is (transaction, id), up to the oldest transaction that is still running.
 */
export interface LogOrder {
  /** Builds the condition that an entry follows the one with an id. If that entry is deleted, all entries follow. */
  isAfter(change: SQL): SQL
  /** Condition that no entry can appear before this one any more. */
  isSettled: SQL
  /** Keys of `order by`, oldest first. */
  ascending: SQL
  /** Keys of `order by`, newest first. */
  descending: SQL
}

/** Runs the statements of pg-boss. */
export interface QueueConnections {
  executeSql(text: string, values?: unknown[]): Promise<{ rows: Record<string, unknown>[] }>
}

/**
 * Storage of the job queue. `table`: the table `jobs`, which one writer at a time claims from. `boss`: the schema of pg-boss, whose
 * statements run on connections of their own.
 */
type QueueStorage = { readonly kind: 'table' } | { readonly kind: 'boss'; readonly connections: QueueConnections }

export interface Database {
  readonly tables: Tables
  readonly dialect: Dialect
  readonly queue: QueueStorage
  /** Reads committed rows only. */
  readonly read: Queries
  /**
   * Reads and counts a page of a list at one moment, with the state of the tables at that moment. Throws QueryTooExpensive at `deadline`,
   * in milliseconds of `performance.now()`. Default: QUERY_TIMEOUT after the call.
   */
  list(selection: Selection, deadline?: number): Promise<ListResult>
  /**
   * Reads the state of tables: a text that changes with every write of any program, and never repeats. It includes all writes of this
   * process, and on SQLite those of all processes. Writes of other processes to PostgreSQL may be missing for MAX_STATE_AGE.
   */
  readState(tables: readonly ServedName[]): string | Promise<string>
  /** Runs a short query as `Queries.runPrepared` does. Reads committed rows only. */
  readRows: Queries['runPrepared']
  /** Loads the secret that signs cursors. It is random, and stored in the database. */
  loadSecret(): Promise<KeyObject>
  /**
   * Runs `work` in one transaction. It commits when `work` resolves, and rolls back when it throws. Inside, use only `tx`, and await only the
   * database. `work` may run again after a conflict that the engine resolves (a deadlock).
   */
  write<T>(work: (tx: Queries) => Promise<T>): Promise<T>
  /**
   * Resolves once everything that readers see is on disk. Await it before data leaves the service for good, as in the change feed. On SQLite
   * readers see a commit a moment before it is durable.
   */
  awaitDurable(): Promise<void>
  /**
   * Runs `work` on a connection of its own. `staging` creates and fills temporary tables without blocking other writers; `merge` is `write`
   * on the same connection. The temporary tables end with the connection.
   */
  runBulk<T>(work: (staging: Queries, merge: Database['write']) => Promise<T>): Promise<T>
  /** Brings the schema up to date. Returns the names of the applied steps, none if it was up to date. */
  migrate(): Promise<string[]>
  /** Throws if the database does not answer, or if the code cannot use its schema. */
  checkReady(): Promise<void>
  /** Returns the class of an error, or undefined for one that callers cannot handle. */
  classifyFailure(error: unknown): Failure | undefined
  /** Ends the lists that are being read, which then throw. Call it before `close`, which would wait for them. */
  interrupt(): void
  close(): Promise<void>
}

/** Another process holds SQLite's write lock for longer than the limit. Clients get 503 `database-busy`. */
export class DatabaseBusy extends Error {}

/** A list exceeded its deadline, or too many long lists wait already. Clients get 503 `query-too-expensive`. */
export class QueryTooExpensive extends Error {}

/** The database cannot be used as it is set up. The message tells the operator what to do. */
export class DatabaseUnusable extends Error {}

/**
 * Returns a function that runs work and throws if called inside work that it runs. A write inside a write would wait for itself on SQLite,
 * and would not belong to the outer transaction on PostgreSQL.
 */
export function forbidNesting(): <T>(work: () => Promise<T>) => Promise<T> {
  const inside = new AsyncLocalStorage<true>()
  return async (work) => {
    if (inside.getStore()) throw new Error('A write cannot start inside a write: pass its tx on')
    return inside.run(true, work)
  }
}

/** Lists an error and its causes, outermost first. Drizzle wraps the errors of the driver. */
export function* listCauses(error: unknown): Generator<Error & { code?: unknown }> {
  for (let cause = error; cause instanceof Error; cause = cause.cause) yield cause
}

/** Finds the class of an error in an engine's table of codes. */
export function findFailure(error: unknown, failures: Record<string, Failure>): Failure | undefined {
  for (const cause of listCauses(error)) {
    if (cause instanceof DatabaseBusy) return 'busy'
    if (cause instanceof QueryTooExpensive) return 'expensive'
    const code = String(cause.code ?? cause.message)
    if (Object.hasOwn(failures, code)) return failures[code]
  }
  return undefined
}
