// The counters of all tables at one moment, and the state of any of them as text.
import type { Database } from './database.ts'

type Counter = readonly [version: number, nonce: number]

/** Knows the state of every served table. */
export interface StateWatcher extends Pick<Database, 'readState'> {
  /** Call it after each write of this process, and after each attempt. States read before are then out of date. */
  noteWrite(): void
  close(): Promise<void>
}

export class TableStates {
  readonly #counters: ReadonlyMap<string, Counter>
  /** Texts by the names of their tables. They are few, because references between tables are. */
  readonly #texts = new Map<string, string>()

  constructor(counters: Iterable<readonly [table: string, Counter]>) {
    this.#counters = new Map(counters)
  }

  /** Formats the state of tables, as `selectState` in conditions.ts does in SQL. */
  format(tables: readonly string[]): string {
    const key = tables.length === 1 ? (tables[0] as string) : tables.join()
    let text = this.#texts.get(key)
    if (text === undefined) {
      let [versions, nonces] = [0, 0]
      for (const table of tables) {
        const [version, nonce] = this.#counters.get(table) ?? [0, 0]
        versions += version
        nonces += nonce
      }
      text = `${versions}.${nonces}`
      this.#texts.set(key, text)
    }
    return text
  }
}
