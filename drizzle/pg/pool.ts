// Pools of connections to PostgreSQL, and transactions on them.
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import { QueryTooExpensive } from '../database.ts'
import { ALL_IN_USE, hasConnectionEnded } from './failures.ts'
import { freeEvicted } from './prepared.ts'
import { SILENCE, SilenceWatch } from './silence.ts'

/**
 * Settings of every connection:
 * - `plan_cache_mode`: plan for the values at hand. After five runs PostgreSQL would plan for any value, up to a thousand times slower here.
 * - `max_parallel_workers_per_gather`: use one process, so that the parts of a list come in order.
 * - `random_page_cost`: assume pages in memory or on an SSD. PostgreSQL would otherwise read a whole table to find a thousand rows.
 * - `enable_mergejoin`: a merge join starts at the end of an index, however far away the page is.
 * - `tcp_keepalives_*`: the server checks that its client is alive, and releases the locks of a dead one.
 */
const SETTINGS =
  '-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=5 -c timezone=UTC -c datestyle=ISO -c plan_cache_mode=force_custom_plan -c max_parallel_workers_per_gather=0 -c random_page_cost=1.1 -c enable_mergejoin=off'

/** Idle milliseconds after which the kernel checks that the server is alive. It gives up 10 s later. */
const KEEP_ALIVE = 10_000

/** Builds the options of a connection. `timeout` bounds connecting, in milliseconds. */
export const buildConnectionOptions = (connectionString: string, timeout: number): pg.ClientConfig => ({
  connectionString,
  connectionTimeoutMillis: timeout,
  keepAlive: true,
  keepAliveInitialDelayMillis: KEEP_ALIVE,
})

/** Options of a pool. Times are in milliseconds, and unlimited by default. */
export interface PoolOptions {
  max: number
  /** Time to wait for a connection. */
  wait: number
  /** Time after which the server ends a statement. */
  statementTimeout?: number
  /** Time after which the server ends a statement that waits for a lock. */
  lockTimeout?: number
}

export function createPool(
  connectionString: string,
  { max, wait, statementTimeout = 0, lockTimeout = 0 }: PoolOptions,
  watch = new SilenceWatch(),
): pg.Pool {
  const options = `${SETTINGS} -c statement_timeout=${Math.ceil(statementTimeout)} -c lock_timeout=${Math.ceil(lockTimeout)}`
  const connections = new Connections({ ...buildConnectionOptions(connectionString, wait), max, options })
  // The pool replaces a connection that the server ends, and its statement fails. Without a listener the process would end.
  connections.on('error', () => {})
  connections.on('connect', (client) => client.on('error', () => {}))
  connections.on('acquire', freeEvicted)
  watch.watchPool(connections, statementTimeout > 0 ? statementTimeout + SILENCE : Number.POSITIVE_INFINITY)
  return connections
}

type ConnectCallback = Parameters<typeof pg.Pool.prototype.connect>[0]

/** A pool whose errors distinguish between all connections in use and a server that does not answer. */
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

/** Runs `work` in a transaction on a connection of the pool. */
export async function runTransaction<T>(
  from: pg.Pool,
  begin: string | (() => string),
  work: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  const client = await beginTransaction(from, begin)
  let isOpen = false
  try {
    return await commitAfter(client, work, () => {
      isOpen = true
    })
  } finally {
    // The next user of a connection in a failed transaction would only get errors.
    client.release(isOpen)
  }
}

/** Begins a transaction. If the server ended an idle connection, `begin` is the first to notice; nothing is lost, and another one is tried. */
async function beginTransaction(from: pg.Pool, begin: string | (() => string)): Promise<pg.PoolClient> {
  for (let others = from.options.max; ; others--) {
    const client = await from.connect()
    try {
      await client.query(typeof begin === 'string' ? begin : begin())
      return client
    } catch (error) {
      // After a deadline the connection is unused: nothing was sent.
      client.release(!(error instanceof QueryTooExpensive))
      if (others === 0 || !hasConnectionEnded(error)) throw error
    }
  }
}

/** Runs `work`, then commits; rolls back if it throws. Calls `onOpen` if the rollback fails too: the transaction may still be open. */
export async function commitAfter<C extends pg.ClientBase, T>(
  client: C,
  work: (client: C) => Promise<T>,
  onOpen: () => void = () => {},
): Promise<T> {
  try {
    const result = await work(client)
    const { command } = await client.query('commit')
    // PostgreSQL rolls back a transaction with a failed statement, and reports no error.
    if (command !== 'COMMIT') throw new Error('The transaction was rolled back: a statement failed, and the work went on')
    return result
  } catch (error) {
    // A lost connection has nothing to roll back. A deadline can also cancel the rollback.
    await client.query('rollback').catch(onOpen)
    throw error
  }
}

/** Milliseconds between two attempts to cancel statements. */
const CANCEL_AGAIN = 100

/** Cancels the statements of `running` backends until none is left. A single attempt would miss a transaction between two statements. */
export async function cancelAll(pool: pg.Pool, running: ReadonlySet<number>): Promise<void> {
  while (running.size > 0 && !pool.ending) {
    await Promise.allSettled([...running].map((pid) => pool.query('select pg_cancel_backend($1)', [pid])))
    await setTimeout(CANCEL_AGAIN)
  }
}

/** Share of a statement's time that it may wait for a lock. It is below 1, so that a locked table fails in another way than a long list. */
export const LOCK_SHARE = 0.75

/** Builds the settings that bound each statement of a transaction by `deadline` and by `maxTime` milliseconds. Throws QueryTooExpensive after the deadline. */
export function buildTimeouts(deadline: number, maxTime = Number.POSITIVE_INFINITY): string {
  const left = Math.ceil(Math.min(deadline - performance.now(), maxTime))
  if (left <= 0) throw new QueryTooExpensive('The list waited past its deadline')
  return `set local statement_timeout = ${left}; set local lock_timeout = ${Math.ceil(left * LOCK_SHARE)}`
}
