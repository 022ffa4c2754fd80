// Statements that a SQLite connection keeps prepared.
import type Driver from 'better-sqlite3'
import { Memory } from '../memory.ts'
import type { Statement } from '../statement.ts'

/** Maximum bytes of the prepared statements of a connection. */
const PREPARED_BYTES = 4_194_304
/** Bytes that SQLite allocates for each character of a statement (measured: 12 to 22). */
const PREPARED_PER_CHARACTER = 22

export class PreparedStatements {
  readonly connection: Driver.Database
  readonly #prepared = new Memory<Driver.Statement<unknown[], unknown[]>>(PREPARED_BYTES)

  constructor(connection: Driver.Database) {
    this.connection = connection
  }

  /** Runs a statement and returns its rows as arrays of columns. */
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
