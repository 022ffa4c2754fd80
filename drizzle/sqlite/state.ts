// Reads the state of every served table on SQLite, and notices the commits of all processes at once.
import Driver from 'better-sqlite3'
import { type StateWatcher, TableStates } from '../states.ts'
import { WalIndex } from './wal-index.ts'

/** Milliseconds to wait while the file is recovered after a crash. */
const BUSY_TIMEOUT = 1_000

/**
 * Watches the state on a connection of its own: `data_version` changes with the commits of all other connections, and no open transaction
 * holds it back. Reading it takes two locks, some 8 µs in a busy server. So it is read only if the header of the WAL index has changed.
 * On some file systems mapped memory and reads differ, and the header never changes. A write of this process detects that; from then on the
 * header is ignored.
 */
export function watchState(path: string): StateWatcher {
  const connection = new Driver(path, { readonly: true, timeout: BUSY_TIMEOUT })
  const dataVersion = connection.prepare<[], number>('pragma data_version').pluck()
  let counters: Driver.Statement<[], [string, number, number]> | undefined
  let index: WalIndex | undefined
  let isHeaderReliable = true
  let hasWritten = true
  let lastVersion: number | undefined
  let states = new TableStates([])

  function refresh(): void {
    // Keep this order: a commit in between is read now, and counts as new the next time.
    const hasChanged = index?.hasChanged()
    if (hasChanged === false && !hasWritten) return
    const version = dataVersion.get()
    let isSettled = true
    if (hasChanged === false && version !== lastVersion) {
      // Either the header is unreliable, or a commit came just now. In that case the header has changed, and the next call decides.
      isSettled = index?.hasChanged() === false
      if (isSettled) {
        isHeaderReliable = false
        index = undefined
      }
    }
    if (version !== lastVersion) {
      // The table exists only after the first migration.
      counters ??= connection.prepare<[], [string, number, number]>('select name, version, nonce from stockroom_counters').raw()
      states = new TableStates(counters.all().map(([name, version, nonce]) => [name, [version, nonce]]))
      lastVersion = version
    }
    hasWritten = false
    if (index) {
      if (isSettled) index.remember()
    }
    // The WAL index exists after the first read. Until its first `remember` it reports a change.
    else if (isHeaderReliable) index = WalIndex.open(path)
  }

  return {
    readState(tables) {
      refresh()
      return states.format(tables)
    },
    noteWrite() {
      hasWritten = true
    },
    async close() {
      connection.close()
    },
  }
}
