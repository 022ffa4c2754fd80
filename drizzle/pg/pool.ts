// Connections to PostgreSQL, and transactions on them.
import pg from 'pg'
import { type Failure, failureOf, QueryTooExpensive } from '../database.ts'

/**
 * Plans made for the values at hand: after five runs PostgreSQL would otherwise plan for any value, which is up to a thousand times
 * slower here. By one process: the parts of a list are to come in their order. And for pages that are in memory or on a disk that does
 * not turn: it would otherwise read a whole table to find a thousand rows. A merge join begins at the end of one of its indexes, however
 * far from there the page is.
 */
const SETTINGS =
  '-c timezone=UTC -c datestyle=ISO -c plan_cache_mode=force_custom_plan -c max_parallel_workers_per_gather=0 -c random_page_cost=1.1 -c enable_mergejoin=off'

/** By SQLSTATE, by Node's code where no connection was made, or by the driver's words where it gives no code. */
const failures: Record<string, Failure> = {
  '23505': 'unique',
  '23503': 'reference',
  '23001': 'reference',
  '40001': 'busy',
  '40P01': 'busy',
  '57014': 'expensive',
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

export const failure = (error: unknown): Failure | undefined => failureOf(error, failures)

export interface PoolOptions {
  max: number
  /** Milliseconds to wait for a connection. */
  wait: number
  /** Milliseconds after which the server ends a statement. */
  statementTimeout?: number
}

export function createPool(connectionString: string, { max, wait, statementTimeout = 0 }: PoolOptions): pg.Pool {
  const options = `${SETTINGS} -c statement_timeout=${Math.ceil(statementTimeout)}`
  const connections = new pg.Pool({ connectionString, max, connectionTimeoutMillis: wait, options })
  // A connection that the server ends is replaced, and what was under way on it fails; without a listener the process would end.
  connections.on('error', () => {})
  connections.on('connect', (client) => client.on('error', () => {}))
  return connections
}

export async function transaction<T>(
  from: pg.Pool,
  begin: string | (() => string),
  work: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  const client = await begun(from, begin)
  try {
    return await toTheEnd(client, work)
  } finally {
    client.release()
  }
}

/** A connection that the server ended while it was idle may only be noticed when it is used. Nothing is lost then, and another is taken. */
async function begun(from: pg.Pool, begin: string | (() => string)): Promise<pg.PoolClient> {
  for (let others = from.options.max; ; others--) {
    const client = await from.connect()
    try {
      await client.query(typeof begin === 'string' ? begin : begin())
      return client
    } catch (error) {
      client.release(true)
      if (others === 0 || failure(error) !== 'unavailable') throw error
    }
  }
}

export async function toTheEnd<C extends pg.ClientBase, T>(client: C, work: (client: C) => Promise<T>): Promise<T> {
  try {
    const result = await work(client)
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

/** Lets the statements of a transaction run until `deadline`, and no longer than `most` milliseconds each. */
export function timeoutUntil(deadline: number, most = Number.POSITIVE_INFINITY): string {
  const left = Math.ceil(Math.min(deadline - performance.now(), most))
  if (left <= 0) throw new QueryTooExpensive('a list waited for longer than it may take')
  return `set local statement_timeout = ${left}`
}
