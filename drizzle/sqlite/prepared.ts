// A connection that keeps its statements prepared.
import type Driver from 'better-sqlite3'
import { LRUCache } from 'lru-cache'
import type { Statement } from '../statement.ts'

/** Statements kept. Each takes some kilobytes. */
const MAX_PREPARED = 500

export class Prepared {
  readonly connection: Driver.Database
  readonly #prepared = new LRUCache<string, Driver.Statement<unknown[], unknown[]>>({ max: MAX_PREPARED })

  constructor(connection: Driver.Database) {
    this.connection = connection
  }

  /** The rows, each as an array of its columns. */
  all({ text, binds }: Statement, values: readonly unknown[]): unknown[][] {
    let statement = this.#prepared.get(text)
    if (!statement) {
      statement = this.connection.prepare<unknown[], unknown[]>(text)
      if (statement.reader) statement.raw()
      this.#prepared.set(text, statement)
    }
    const bound = binds.map((place) => values[place])
    if (statement.reader) return statement.all(...bound)
    statement.run(...bound)
    return []
  }
}
