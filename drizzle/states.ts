// The counters of all tables as they were read at one moment, and the state of any of them as text.

export type Counter = readonly [version: number, nonce: number]

export class TableStates {
  readonly #counters: ReadonlyMap<string, Counter>
  /** By the tables asked for. There are as few of these as there are references between tables. */
  readonly #texts = new Map<string, string>()

  constructor(counters: Iterable<readonly [table: string, Counter]>) {
    this.#counters = new Map(counters)
  }

  /** The same text as `stateOf` of `conditions.ts` makes in SQL. */
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
