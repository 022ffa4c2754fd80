// Wakes streams at the next change. One poll of the change log serves all streams, and none runs without streams.
import { setTimeout as pause } from 'node:timers/promises'
import type { Database } from '../../drizzle/database.ts'
import { findNewestId } from '../changelog/read.ts'

/** Milliseconds between two polls. */
const POLL_INTERVAL = 200

export class Watch {
  readonly #db: Database
  #watchers = 0
  #version = 0
  readonly #waiting = new Set<() => void>()
  #polling: Promise<void> | undefined

  constructor(db: Database) {
    this.#db = db
  }

  /** Number of changes seen. Take it before reading the feed, and pass it to `waitForChange` afterwards, so that no change is missed. */
  get version(): number {
    return this.#version
  }

  /** Waits until the version differs from `version`, for at most `milliseconds`, or until `signal` aborts. */
  async waitForChange(version: number, milliseconds: number, signal: AbortSignal): Promise<void> {
    if (version !== this.#version || milliseconds <= 0 || signal.aborted) return
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        this.#waiting.delete(done)
        resolve()
      }
      const timer = setTimeout(done, milliseconds)
      signal.addEventListener('abort', done)
      this.#waiting.add(done)
    })
  }

  /** Polls until the returned function is called. */
  addWatcher(): () => void {
    this.#watchers++
    this.#polling ??= this.#poll().finally(() => {
      this.#polling = undefined
    })
    return () => void this.#watchers--
  }

  /** Waits for the end of polling. */
  async close(): Promise<void> {
    await this.#polling
  }

  async #poll(): Promise<void> {
    let last = -1
    while (this.#watchers > 0) {
      // Without the database there is nothing to wake for. Reads of the feed report the failure.
      const newest = await findNewestId(this.#db, this.#db).catch(() => last)
      if (newest !== last) {
        last = newest
        this.#version++
        for (const wake of [...this.#waiting]) wake()
      }
      await pause(POLL_INTERVAL)
    }
  }
}
