// Reads the state of every served table on PostgreSQL. Instances announce their writes by NOTIFY; a regular re-read finds all others.
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { MAX_STATE_AGE } from '../database.ts'
import type { Statement } from '../statement.ts'
import { type StateWatcher, TableStates } from '../states.ts'
import { classifyFailure } from './failures.ts'
import { buildConnectionOptions } from './pool.ts'
import { queryRows } from './prepared.ts'
import type { SilenceWatch } from './silence.ts'

const CHANNEL = 'stockroom_changed'
/** Milliseconds before a lost connection is opened again. */
const RETRY_AFTER = 1_000
/** Milliseconds to open it. */
const CONNECT_TIMEOUT = 5_000

const COUNTERS: Statement = {
  text: 'select name, sum(version)::text, sum(nonce)::text from stockroom_counters group by name',
  binds: [],
}

/** Watches the state. It reads on `short`, and on `long` if that takes too long because the table is locked. */
export function watchState(url: string, { short: pool, long }: { short: pg.Pool; long: pg.Pool }, silence: SilenceWatch): StateWatcher {
  const instanceId = randomUUID()
  /** Number of announced writes. States are as new as this number was when their reading began. */
  let writes = 0
  let latest = { at: Number.NEGATIVE_INFINITY, writes: -1, states: new TableStates([]) }
  let reading: Promise<void> | undefined
  let announcing: Promise<void> | undefined
  let hasNews = false
  let listener: pg.Client | undefined
  let retry: NodeJS.Timeout | undefined
  let isClosed = false

  async function read(): Promise<void> {
    const begin = { at: performance.now(), writes }
    const read = queryRows(pool, COUNTERS, []).catch((error) => {
      if (classifyFailure(error) !== 'expensive') throw error
      return queryRows(long, COUNTERS, [])
    })
    const rows = (await read) as [name: string, version: string, nonce: string][]
    latest = { ...begin, states: new TableStates(rows.map(([name, version, nonce]) => [name, [Number(version), Number(nonce)]])) }
  }

  /** Waits for states that include `minWrites` announced writes and are no older than `oldest`. */
  async function readSince(minWrites: number, oldest: number): Promise<void> {
    while (latest.writes < minWrites || latest.at < oldest) {
      reading ??= read().finally(() => {
        reading = undefined
      })
      await reading
    }
  }

  async function listen(): Promise<void> {
    const client = new pg.Client({ ...buildConnectionOptions(url, CONNECT_TIMEOUT), query_timeout: CONNECT_TIMEOUT })
    silence.watch(client)
    const reconnect = () => {
      silence.unwatch(client)
      if (client !== listener) return
      listener = undefined
      client.end().catch(() => {})
      if (!isClosed) retry = setTimeout(() => void listen(), RETRY_AFTER).unref()
    }
    listener = client
    client.on('error', reconnect)
    client.on('end', reconnect)
    client.on('notification', ({ payload }) => {
      if (payload !== instanceId) writes++
    })
    try {
      await client.connect()
      await client.query(`listen ${CHANNEL}`)
      // Writes may have been announced before this connection listened.
      writes++
    } catch {
      reconnect()
    }
  }

  /** Announces all writes so far by one message. It runs after the commit: notifying transactions would wait for each other. */
  function announce(): void {
    hasNews = true
    announcing ??= (async () => {
      while (hasNews && !isClosed) {
        hasNews = false
        // If this fails, the other instances notice the write at their next regular read.
        await pool.query('select pg_notify($1, $2)', [CHANNEL, instanceId]).catch(() => {})
      }
      announcing = undefined
    })()
  }

  void listen()
  return {
    readState(tables) {
      const oldest = performance.now() - MAX_STATE_AGE
      if (latest.writes === writes && latest.at >= oldest) return latest.states.format(tables)
      return readSince(writes, oldest).then(() => latest.states.format(tables))
    },
    noteWrite() {
      writes++
      announce()
    },
    async close() {
      isClosed = true
      clearTimeout(retry)
      const client = listener
      listener = undefined
      await Promise.all([announcing, reading?.catch(() => {}), client?.end().catch(() => {})])
    },
  }
}
