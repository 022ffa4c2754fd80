// Knows the state of every served table, and notices at once when anybody has written to the file.
import Driver from 'better-sqlite3'
import type { Database } from '../database.ts'
import { States } from '../states.ts'

/** Milliseconds to wait while the file is recovered after a crash. */
const BUSY_TIMEOUT = 1_000

/**
 * It has a connection of its own: `data_version` tells of the commits of all others, those of this process too, and a transaction that
 * stays open on another connection does not hold it back.
 */
export function watchState(path: string): Pick<Database, 'state'> & { close(): void } {
  const connection = new Driver(path, { readonly: true, timeout: BUSY_TIMEOUT })
  const dataVersion = connection.prepare<[], number>('pragma data_version').pluck()
  let counters: Driver.Statement<[], [string, number, number]> | undefined
  let seen: number | undefined
  let states = new States([])

  return {
    state(tables) {
      // In this order: what is committed in between is read, and seen as new the next time.
      const version = dataVersion.get()
      if (version !== seen) {
        // The table is there after the first migration.
        counters ??= connection.prepare<[], [string, number, number]>('select name, version, nonce from stockroom_counters').raw()
        states = new States(counters.all().map(([name, version, nonce]) => [name, [version, nonce]]))
        seen = version
      }
      return states.of(tables)
    },
    close: () => connection.close(),
  }
}
