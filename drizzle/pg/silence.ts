// Finds dead connections: a cut network or a fail-over does not end them.
import { Socket } from 'node:net'
import type pg from 'pg'
import { SILENT } from './failures.ts'

/** Milliseconds between two checks. */
const EVERY = 500

/** Milliseconds beyond the time limit of a statement within which the server must send something. */
export const SILENCE = 3_000

interface WatchedConnection {
  /** Milliseconds of silence, while in use, after which the connection is dead. */
  limit: number
  isInUse: boolean
  bytesRead: number
  /** Milliseconds of silence, counted by checks. With a clock, a late event loop would count unread answers as silence. */
  silence: number
}

export class SilenceWatch {
  readonly #watched = new Map<pg.Client, WatchedConnection>()
  #timer: NodeJS.Timeout | undefined

  /** Watches the connections of a pool while they are in use. */
  watchPool(pool: pg.Pool, limit: number): void {
    pool.on('connect', (client) => this.watch(client, limit))
    pool.on('acquire', (client) => this.#noteUse(client, true))
    pool.on('release', (_error, client) => this.#noteUse(client, false))
    pool.on('remove', (client) => this.unwatch(client))
  }

  /** Watches a connection. An idle connection ends when another one is found dead. */
  watch(client: pg.Client, limit = Number.POSITIVE_INFINITY): void {
    this.#watched.set(client, { limit, isInUse: false, bytesRead: 0, silence: 0 })
    this.#timer ??= setInterval(() => this.#check(), EVERY).unref()
  }

  unwatch(client: pg.Client): void {
    this.#watched.delete(client)
    if (this.#watched.size === 0) this.stop()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #noteUse(client: pg.Client, isInUse: boolean): void {
    const watched = this.#watched.get(client)
    if (watched) this.#watched.set(client, { limit: watched.limit, isInUse, bytesRead: countBytesRead(client), silence: 0 })
  }

  #check(): void {
    let hasDied = false
    for (const [client, watched] of this.#watched) {
      if (!watched.isInUse) continue
      const bytesRead = countBytesRead(client)
      watched.silence = bytesRead === watched.bytesRead ? watched.silence + EVERY : 0
      watched.bytesRead = bytesRead
      hasDied ||= watched.silence >= watched.limit
    }
    if (hasDied) this.#endSuspects()
  }

  /** Ends the idle connections, and those that have been silent for SILENCE: the cause of one dead connection affects them too. */
  #endSuspects(): void {
    for (const [client, { isInUse, silence, limit }] of this.#watched) {
      if (isInUse && (silence < SILENCE || limit === Number.POSITIVE_INFINITY)) continue
      this.unwatch(client)
      client.connection.stream.destroy(new Error(SILENT))
    }
  }
}

const countBytesRead = ({ connection: { stream } }: pg.Client): number => (stream instanceof Socket ? stream.bytesRead : 0)
