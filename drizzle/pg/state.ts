// Knows the state of every served table. Other instances tell of their writes by NOTIFY; for those who do not, it is read again now and then.
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { type Database, MAX_STATE_AGE } from '../database.ts'
import type { Statement } from '../statement.ts'
import { TableStates } from '../states.ts'
import { classifyFailure } from './failures.ts'
import { buildConnectionOptions } from './pool.ts'
import { queryRows } from './prepared.ts'
import type { SilenceWatch } from './silence.ts'

const CHANNEL = 'stockroom_changed'
/** Milliseconds after which a connection that was lost is made again, and in which it has to be there. */
const RETRY_AFTER = 1_000
const CONNECT_TIMEOUT = 5_000

const COUNTERS: Statement = {
  text: 'select name, sum(version)::text, sum(nonce)::text from stockroom_counters group by name',
  binds: [],
}

export interface StateWatcher extends Pick<Database, 'readState'> {
  /** This process has written, or may have: from now on no state that was read before is taken for the present one. */
  noteWrite(): void
  close(): Promise<void>
}

/** What `short` does not answer in its time, because the table is locked for a while, `long` is asked. */
export function watchState(url: string, { short: pool, long }: { short: pg.Pool; long: pg.Pool }, silence: SilenceWatch): StateWatcher {
  const me = randomUUID()
  /** Counts the writes that were heard of. What was read is as new as the count at which the reading began. */
  let heard = 0
  let known = { at: Number.NEGATIVE_INFINITY, heard: -1, states: new TableStates([]) }
  let reading: Promise<void> | undefined
  let telling: Promise<void> | undefined
  let untold = false
  let listener: pg.Client | undefined
  let retry: NodeJS.Timeout | undefined
  let closed = false

  async function read(): Promise<void> {
    const begun = { at: performance.now(), heard }
    const read = queryRows(pool, COUNTERS, []).catch((error) => {
      if (classifyFailure(error) !== 'expensive') throw error
      return queryRows(long, COUNTERS, [])
    })
    const rows = (await read) as [name: string, version: string, nonce: string][]
    known = { ...begun, states: new TableStates(rows.map(([name, version, nonce]) => [name, [Number(version), Number(nonce)]])) }
  }

  /** Waits for a reading that began no earlier than now, or lately enough. */
  async function readSince(needed: number, oldest: number): Promise<void> {
    while (known.heard < needed || known.at < oldest) {
      reading ??= read().finally(() => {
        reading = undefined
      })
      await reading
    }
  }

  async function listen(): Promise<void> {
    const client = new pg.Client({ ...buildConnectionOptions(url, CONNECT_TIMEOUT), query_timeout: CONNECT_TIMEOUT })
    silence.watch(client)
    const lost = () => {
      silence.unwatch(client)
      if (client !== listener) return
      listener = undefined
      client.end().catch(() => {})
      if (!closed) retry = setTimeout(() => void listen(), RETRY_AFTER).unref()
    }
    listener = client
    client.on('error', lost)
    client.on('end', lost)
    client.on('notification', ({ payload }) => {
      if (payload !== me) heard++
    })
    try {
      await client.connect()
      await client.query(`listen ${CHANNEL}`)
      // What was told before this connection was there.
      heard++
    } catch {
      lost()
    }
  }

  /** After the commit: inside of it, all transactions that notify would wait for each other. One message tells of all writes before it. */
  function tell(): void {
    untold = true
    telling ??= (async () => {
      while (untold && !closed) {
        untold = false
        // Who is not told reads the state again before long.
        await pool.query('select pg_notify($1, $2)', [CHANNEL, me]).catch(() => {})
      }
      telling = undefined
    })()
  }

  void listen()
  return {
    readState(tables) {
      const oldest = performance.now() - MAX_STATE_AGE
      if (known.heard === heard && known.at >= oldest) return known.states.format(tables)
      return readSince(heard, oldest).then(() => known.states.format(tables))
    },
    noteWrite() {
      heard++
      tell()
    },
    async close() {
      closed = true
      clearTimeout(retry)
      const client = listener
      listener = undefined
      await Promise.all([telling, reading?.catch(() => {}), client?.end().catch(() => {})])
    },
  }
}
