// Wakes those who wait for the next change: one look at the log for all of them, and none while nobody waits.
import { setTimeout as pause } from 'node:timers/promises'
import type { Database } from '../../drizzle/database.ts'
import { findNewestId } from '../changelog/read.ts'

/** Milliseconds between two looks. */
const POLL_INTERVAL = 200

export class Watch {
  readonly #db: Database
  #watchers = 0
  #turn = 0
  readonly #waiting = new Set<() => void>()
  #looking: Promise<void> | undefined

  constructor(db: Database) {
    this.#db = db
  }

  /** Another one whenever something has come. Who waits takes it before reading, so that nothing falls between. */
  get version(): number {
    return this.#turn
  }

  /** Waits until the turn is another one, for so many milliseconds at most, or until `signal` says so. */
  async waitForChange(turn: number, milliseconds: number, signal: AbortSignal): Promise<void> {
    if (turn !== this.#turn || milliseconds <= 0 || signal.aborted) return
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

  /** From now on there is somebody to wake, until the function that it returns is called. */
  addWatcher(): () => void {
    this.#watchers++
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined
    })
    return () => void this.#watchers--
  }

  /** Waits until nobody looks any more. */
  async close(): Promise<void> {
    await this.#looking
  }

  async #look(): Promise<void> {
    let known = -1
    while (this.#watchers > 0) {
      // Where the database is away, whoever reads is told so, and there is nothing to wake for.
      const newest = await findNewestId(this.#db, this.#db).catch(() => known)
      if (newest !== known) {
        known = newest
        this.#turn++
        for (const wake of [...this.#waiting]) wake()
      }
      await pause(POLL_INTERVAL)
    }
  }
}
