// Connections to PostgreSQL, and transactions on them.
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import { QueryTooExpensive } from '../database.ts'
import { ALL_IN_USE, hasConnectionEnded } from './failures.ts'
import { freeEvicted } from './prepared.ts'
import { SILENCE, SilenceWatch } from './silence.ts'

/**
 * Plans made for the values at hand: after five runs PostgreSQL would otherwise plan for any value, which is up to a thousand times
 * slower here. By one process: the parts of a list are to come in their order. And for pages that are in memory or on a disk that does
 * not turn: it would otherwise read a whole table to find a thousand rows. A merge join begins at the end of one of its indexes, however
 * far from there the page is.
 * The server too asks whether its client is still there, and lets go of the locks of one that is not.
 */
const SETTINGS =
  '-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=5 -c timezone=UTC -c datestyle=ISO -c plan_cache_mode=force_custom_plan -c max_parallel_workers_per_gather=0 -c random_page_cost=1.1 -c enable_mergejoin=off'

/** Milliseconds after which the kernel asks whether the server is still there, while nothing is said; it gives up 10 s later. */
const KEEP_ALIVE = 10_000

/** Options of every connection. */
export const buildConnectionOptions = (connectionString: string, timeout: number): pg.ClientConfig => ({
  connectionString,
  connectionTimeoutMillis: timeout,
  keepAlive: true,
  keepAliveInitialDelayMillis: KEEP_ALIVE,
})

/** Times in milliseconds; without one there is no limit. */
export interface PoolOptions {
  max: number
  /** To wait for a connection. */
  wait: number
  /** After which the server ends a statement. */
  statementTimeout?: number
  /** After which the server ends a statement that waits for a lock. */
  lockTimeout?: number
}

export function createPool(
  connectionString: string,
  { max, wait, statementTimeout = 0, lockTimeout = 0 }: PoolOptions,
  watch = new SilenceWatch(),
): pg.Pool {
  const options = `${SETTINGS} -c statement_timeout=${Math.ceil(statementTimeout)} -c lock_timeout=${Math.ceil(lockTimeout)}`
  const connections = new Connections({ ...buildConnectionOptions(connectionString, wait), max, options })
  // A connection that the server ends is replaced, and what was under way on it fails; without a listener the process would end.
  connections.on('error', () => {})
  connections.on('connect', (client) => client.on('error', () => {}))
  connections.on('acquire', freeEvicted)
  watch.watchPool(connections, statementTimeout > 0 ? statementTimeout + SILENCE : Number.POSITIVE_INFINITY)
  return connections
}

type ConnectCallback = Parameters<typeof pg.Pool.prototype.connect>[0]

/** A pool that says whether a connection was not to be had because all are in use, or because the server does not answer. */
class Connections extends pg.Pool {
  #established = 0

  constructor(config: pg.PoolConfig) {
    super(config)
    this.on('connect', () => void this.#established++)
    this.on('remove', () => void this.#established--)
  }

  override connect(): Promise<pg.PoolClient>
  override connect(callback: ConnectCallback): void
  override connect(callback?: ConnectCallback): Promise<pg.PoolClient> | undefined {
    if (!callback) return super.connect().catch((error) => Promise.reject(this.#explain(error)))
    super.connect((error, client, done) => callback(error && this.#explain(error), client, done))
    return undefined
  }

  #explain(error: Error): Error {
    const isFull = error.message === 'timeout exceeded when trying to connect' && this.#established === this.options.max
    return isFull ? new Error(ALL_IN_USE, { cause: error }) : error
  }
}

export async function runTransaction<T>(
  from: pg.Pool,
  begin: string | (() => string),
  work: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  const client = await beginTransaction(from, begin)
  try {
    return await commitAfter(client, work)
  } finally {
    client.release()
  }
}

/** A connection that the server ended while it was idle may only be noticed when it is used. Nothing is lost then, and another is taken. */
async function beginTransaction(from: pg.Pool, begin: string | (() => string)): Promise<pg.PoolClient> {
  for (let others = from.options.max; ; others--) {
    const client = await from.connect()
    try {
      await client.query(typeof begin === 'string' ? begin : begin())
      return client
    } catch (error) {
      // Past a deadline nothing was sent.
      client.release(!(error instanceof QueryTooExpensive))
      if (others === 0 || !hasConnectionEnded(error)) throw error
    }
  }
}

export async function commitAfter<C extends pg.ClientBase, T>(client: C, work: (client: C) => Promise<T>): Promise<T> {
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

/** Milliseconds between two tries to cancel what runs. */
const CANCEL_AGAIN = 100

/** Cancels the statements of `running` backends until none is left: a single try misses a transaction that is between two statements. */
export async function cancelAll(pool: pg.Pool, running: ReadonlySet<number>): Promise<void> {
  while (running.size > 0 && !pool.ending) {
    await Promise.allSettled([...running].map((pid) => pool.query('select pg_cancel_backend($1)', [pid])))
    await setTimeout(CANCEL_AGAIN)
  }
}

/** Of the time of a statement: a lock is given up sooner, so that a locked table is told from a list that takes long. */
export const LOCK_SHARE = 0.75

/** Lets the statements of a transaction run until `deadline`, and no longer than `most` milliseconds each. */
export function buildTimeouts(deadline: number, most = Number.POSITIVE_INFINITY): string {
  const left = Math.ceil(Math.min(deadline - performance.now(), most))
  if (left <= 0) throw new QueryTooExpensive('The list waited past its deadline')
  return `set local statement_timeout = ${left}; set local lock_timeout = ${Math.ceil(left * LOCK_SHARE)}`
}
