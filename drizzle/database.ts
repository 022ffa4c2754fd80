// What the rest of the application sees of a database. Both engines answer to it; callers cannot tell which one they have.
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

/** Milliseconds by which the state of tables is behind at most, where others write to the same PostgreSQL database. */
export const MAX_STATE_AGE = 500

/** What a query can be built with. `await` a builder instead of calling its own all, get or run, which exist on SQLite only. */
export interface Queries extends Pick<BaseSQLiteDatabase<'async', unknown>, 'select' | 'insert' | 'update' | 'delete' | 'all' | 'run'> {
  /** Runs SQL in which every value is a `placeholder`. It is compiled and prepared once for each object. Rows are as the driver gives them. */
  runPrepared(query: SQL, values: readonly unknown[]): Promise<unknown[][]>
}

/** What a database has to know of a resource, to keep its counters and its search text. */
export interface ServedResource {
  table: ServedName
  /** The fields whose folded text is kept: searchable ones and those with a lookup that ignores case. */
  foldedFields: readonly string[]
  /** Those of them that are looked up whole or by their beginning. They need an index of their own and at most 255 characters. */
  prefixedFields: readonly string[]
}

/**
 * Why a statement failed, where the caller can do something about it: `busy` and `locked` are others' transactions, `exhausted` are all
 * connections in use, `full` is the disk.
 */
export type Failure = 'unique' | 'reference' | 'busy' | 'locked' | 'exhausted' | 'readOnly' | 'full' | 'unavailable' | 'expensive'

/** An index as it is declared. A column that is an expression has no name. */
export interface Index {
  name: string
  unique: boolean
  columns: readonly (string | undefined)[]
  /** The condition of a partial index. */
  where?: string
}

/** A foreign key as it is declared. */
export interface Reference {
  columns: readonly string[]
  target: string
}

/** The fragments that differ between the engines. Values, so that query code never asks which engine it has. */
export interface Dialect {
  /** `column` is one of `values`, which are bound as one array, each passed through the column's codec. */
  matchAny(column: SQLiteColumn, values: readonly unknown[]): Clause
  /** Each of `terms`, none of which is empty, is in some of `fields` of the row, in any case. `all` is that no other field has search text. */
  contains(table: string, id: SQLiteColumn, fields: readonly string[], terms: readonly string[], all?: boolean): Clause
  /** `column` is one of the ids that `query` gives. Leads to the column's index. */
  matchSubquery(column: SQLiteColumn, query: SQL): SQL
  /** The declared indexes of a table. */
  listIndexes(table: SQLiteTable): readonly Index[]
  /** The declared foreign keys of a table. */
  listReferences(table: SQLiteTable): readonly Reference[]
  /** Ends a `select`: no other transaction can change the rows that it gives until this one ends. */
  forUpdate: SQL
  /** Waits until no other transaction is changing the row (or, without an id, the tree of `table`), and holds it until this one ends. */
  lock(tx: Queries, table: SQLiteTable, id?: number): Promise<unknown>
  /** Waits for names, in an order that is the same for all, and holds them until the transaction ends. */
  lockNames(tx: Queries, names: readonly string[]): Promise<unknown>
  /** Holds a name until the transaction ends. False where another transaction holds it. */
  tryLock(tx: Queries, name: string): Promise<boolean>
  logOrder: LogOrder
  /** Columns of search tables that are computed from the folded texts. */
  computedColumns: readonly { name: string; from(texts: readonly SQL[]): SQL }[]
}

/**
 * The order of the change log in which nothing is ever put before what was read already. On PostgreSQL ids are given out before their
 * transactions commit, so it is that of (transaction, id), up to the oldest transaction that is still under way.
 */
export interface LogOrder {
  /** It comes after the entry with an id; everything does where that is forgotten. */
  isAfter(change: SQL): SQL
  /** Nothing will be put before it any more. */
  isSettled: SQL
  /** For `order by`: the oldest first, and the newest first. */
  ascending: SQL
  descending: SQL
}

export interface QueueConnections {
  executeSql(text: string, values?: unknown[]): Promise<{ rows: Record<string, unknown>[] }>
}

/**
 * Where an engine keeps the queue of jobs: in the table `jobs`, which one writer at a time claims from; or in the schema of pg-boss,
 * whose statements run on connections of their own.
 */
export type QueueStorage = { readonly kind: 'table' } | { readonly kind: 'boss'; readonly connections: QueueConnections }

export interface Database {
  readonly tables: Tables
  readonly dialect: Dialect
  readonly queue: QueueStorage
  /** Sees committed rows only. */
  readonly read: Queries
  /**
   * Reads a page of a list and counts it, all of one moment, with the state that the tables had then. Throws QueryTooExpensive at
   * `deadline`, in milliseconds of `performance.now()`; without one, QUERY_TIMEOUT after the call.
   */
  list(selection: Selection, deadline?: number): Promise<ListResult>
  /**
   * The state of tables: a text that changes with every write to them, whoever makes it, and never comes back. It is not older than the
   * last write that this process made or, in the same SQLite file, anybody; of the writes of others to PostgreSQL it may know as much
   * later as STATE_AGE.
   */
  readState(tables: readonly ServedName[]): string | Promise<string>
  /** Runs a query that is short, as `Queries.prepared` does. Sees committed rows only. */
  readRows: Queries['runPrepared']
  /** What cursors are signed with: random, made once for this database and kept in it. */
  loadSecret(): Promise<KeyObject>
  /**
   * Runs `work` in one transaction, committed when it resolves and rolled back when it throws. Inside it use `tx` only, and wait
   * for nothing but the database. `work` may run again after a conflict that the engine itself resolves (a deadlock).
   */
  write<T>(work: (tx: Queries) => Promise<T>): Promise<T>
  /**
   * Resolves once everything that readers see is on disk. Await it before data leaves the service for good, as in the change feed: on
   * SQLite readers see a commit a moment before it is durable.
   */
  awaitDurable(): Promise<void>
  /**
   * Runs `work` on a connection of its own, where `staging` makes and fills temporary tables without holding up other writers;
   * `merge` is then `write` on that connection. The temporary tables go with it.
   */
  runBulk<T>(work: (staging: Queries, merge: Database['write']) => Promise<T>): Promise<T>
  /** Brings the schema up to date, or does nothing where it is. Returns the names of what was applied. */
  migrate(): Promise<string[]>
  /** Throws where the database does not answer or its schema is behind the code. */
  checkReady(): Promise<void>
  classifyFailure(error: unknown): Failure | undefined
  /** Ends what is being read for lists, which then throw: closing is not to wait for them. */
  interrupt(): void
  close(): Promise<void>
}

/** Another process held SQLite's write lock for longer than the limit. Answered as 503 `database-busy`. */
export class DatabaseBusy extends Error {}

/** A list took longer than it may, or too many long ones wait already. Answered as 503 `query-too-expensive`. */
export class QueryTooExpensive extends Error {}

/** The database cannot be used as it is set up. The message says how to put it right. */
export class DatabaseUnusable extends Error {}

/**
 * Returns a function that runs work, and refuses work that is started by work that it runs: a write inside a write would wait for
 * itself on one engine, and be no part of the outer one on the other.
 */
export function forbidNesting(): <T>(work: () => Promise<T>) => Promise<T> {
  const inside = new AsyncLocalStorage<true>()
  return async (work) => {
    if (inside.getStore()) throw new Error('a write inside a write: pass tx on instead')
    return inside.run(true, work)
  }
}

/** The error and what caused it, outermost first: Drizzle wraps what the driver throws. */
export function* listCauses(error: unknown): Generator<Error & { code?: unknown }> {
  for (let cause = error; cause instanceof Error; cause = cause.cause) yield cause
}

/** Looks an error up in an engine's table of codes. */
export function findFailure(error: unknown, failures: Record<string, Failure>): Failure | undefined {
  for (const cause of listCauses(error)) {
    if (cause instanceof DatabaseBusy) return 'busy'
    if (cause instanceof QueryTooExpensive) return 'expensive'
    const code = String(cause.code ?? cause.message)
    if (Object.hasOwn(failures, code)) return failures[code]
  }
  return undefined
}
