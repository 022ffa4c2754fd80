// The header of the WAL index (https://sqlite.org/walformat.html, 2.1): it changes with every commit, whoever makes it.
import { openSync, readSync, statSync } from 'node:fs'

/** Bytes: the header stands there twice, so that half of a new one is told from a whole one. */
const HEADER = 96

/**
 * The descriptors of this process, by file. None is ever closed: closing one would release the locks that SQLite has on the same file,
 * for all connections of the process (POSIX advisory locks). The system closes them when the process ends.
 */
const descriptors = new Map<string, number>()

export class WalIndex {
  readonly #descriptor: number
  readonly #seen = Buffer.alloc(HEADER)
  readonly #now = Buffer.alloc(HEADER)

  private constructor(descriptor: number) {
    this.#descriptor = descriptor
  }

  /** Of a database on which a connection has read already. Undefined where there is no such file, as in a heap. */
  static open(path: string): WalIndex | undefined {
    try {
      const file = `${path}-shm`
      const { dev, ino } = statSync(file)
      const name = `${dev}:${ino}`
      const descriptor = descriptors.get(name) ?? openSync(file, 'r')
      descriptors.set(name, descriptor)
      return new WalIndex(descriptor)
    } catch {
      return undefined
    }
  }

  /** Whether somebody has committed since `remember` was called last. */
  hasChanged(): boolean {
    const read = readSync(this.#descriptor, this.#now, 0, HEADER, 0)
    return read !== HEADER || !this.#now.equals(this.#seen)
  }

  /** Takes what `hasChanged` has read for known. What is committed after that reading is a change. */
  remember(): void {
    this.#now.copy(this.#seen)
  }
}
