// Reads the header of the WAL index (https://sqlite.org/walformat.html, 2.1), which changes with every commit of any process.
import { openSync, readSync, statSync } from 'node:fs'

/** Bytes of the header. It is stored twice, so that a half-written one is recognisable. */
const HEADER = 96

/**
 * Descriptors of this process by file. They stay open until the process ends: closing one would release SQLite's locks on the file for all
 * connections of the process (POSIX advisory locks).
 */
const descriptors = new Map<string, number>()

export class WalIndex {
  readonly #descriptor: number
  readonly #remembered = Buffer.alloc(HEADER)
  readonly #current = Buffer.alloc(HEADER)

  private constructor(descriptor: number) {
    this.#descriptor = descriptor
  }

  /** Opens the WAL index of a database that a connection has read already. Returns undefined if there is no such file. */
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

  /** Returns whether any process has committed since the last `remember`. */
  hasChanged(): boolean {
    const read = readSync(this.#descriptor, this.#current, 0, HEADER, 0)
    return read !== HEADER || !this.#current.equals(this.#remembered)
  }

  /** Remembers the header that `hasChanged` read. Later commits count as changes. */
  remember(): void {
    this.#current.copy(this.#remembered)
  }
}
