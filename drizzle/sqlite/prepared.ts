// A connection that keeps its statements prepared.
import type Driver from 'better-sqlite3'
import { Memory } from '../memory.ts'
import type { Statement } from '../statement.ts'

/** Bytes that the prepared statements of a connection take. */
const PREPARED_BYTES = 4_194_304
/** What SQLite allocates for a statement, for each character of its text (measured: 12 to 22). */
const PREPARED_PER_CHARACTER = 22

export class PreparedStatements {
  readonly connection: Driver.Database
  readonly #prepared = new Memory<Driver.Statement<unknown[], unknown[]>>(PREPARED_BYTES)

  constructor(connection: Driver.Database) {
    this.connection = connection
  }

  /** The rows, each as an array of its columns. */
  all({ text, binds }: Statement, values: readonly unknown[]): unknown[][] {
    let statement = this.#prepared.get(text)
    if (!statement) {
      statement = this.connection.prepare<unknown[], unknown[]>(text)
      if (statement.reader) statement.raw()
      this.#prepared.set(text, statement, PREPARED_PER_CHARACTER * text.length)
    }
    const bound = binds.map((place) => values[place])
    if (statement.reader) return statement.all(...bound)
    statement.run(...bound)
    return []
  }
}
