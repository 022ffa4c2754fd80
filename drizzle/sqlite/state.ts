// Knows the state of every served table, and notices at once when anybody has written to the file.
import Driver from 'better-sqlite3'
import type { Database } from '../database.ts'
import { TableStates } from '../states.ts'
import { WalIndex } from './wal-index.ts'

/** Milliseconds to wait while the file is recovered after a crash. */
const BUSY_TIMEOUT = 1_000

export interface StateWatcher extends Pick<Database, 'readState'> {
  /** This process has written, or may have. */
  noteWrite(): void
  close(): void
}

/**
 * It has a connection of its own: `data_version` tells of the commits of all others, those of this process too, and a transaction that
 * stays open on another connection does not hold it back. To ask takes two locks, and some 8 µs in a busy server, so that is only done
 * when the header of the WAL index says that there was a commit. Should it fail to, as on a file system that keeps what is mapped apart
 * from what is read, a write of this process finds that out, and it is not asked again.
 */
export function watchState(path: string): StateWatcher {
  const connection = new Driver(path, { readonly: true, timeout: BUSY_TIMEOUT })
  const dataVersion = connection.prepare<[], number>('pragma data_version').pluck()
  let counters: Driver.Statement<[], [string, number, number]> | undefined
  let index: WalIndex | undefined
  let trusted = true
  let written = true
  let seen: number | undefined
  let states = new TableStates([])

  function look(): void {
    // In this order: what is committed in between is read, and seen as new the next time.
    const told = index?.hasChanged()
    if (told === false && !written) return
    const version = dataVersion.get()
    let certain = true
    if (told === false && version !== seen) {
      // Either the header does not tell, or somebody has committed just now, which it then does: that is looked at again the next time.
      certain = index?.hasChanged() === false
      if (certain) {
        trusted = false
        index = undefined
      }
    }
    if (version !== seen) {
      // The table is there after the first migration.
      counters ??= connection.prepare<[], [string, number, number]>('select name, version, nonce from stockroom_counters').raw()
      states = new TableStates(counters.all().map(([name, version, nonce]) => [name, [version, nonce]]))
      seen = version
    }
    written = false
    if (index) {
      if (certain) index.remember()
    }
    // It is there once something was read; until it has been remembered once it says that there was a commit.
    else if (trusted) index = WalIndex.open(path)
  }

  return {
    readState(tables) {
      look()
      return states.format(tables)
    },
    noteWrite() {
      written = true
    },
    close: () => connection.close(),
  }
}
