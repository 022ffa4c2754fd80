// Memory of lists: the statements of each shape, the count of each filter, and the slow pages.
import { BYTES_PER_CHARACTER, Memory } from './memory.ts'
import { computeShape, type Selection } from './selection.ts'
import type { Statement } from './statement.ts'

/** Milliseconds for which a slow page is not tried among short reads. */
const SLOW_TIME = 10_000

/** Bytes of a statement without its text. */
const STATEMENT_OVERHEAD = 200

/** The keys of a selection in the memory. */
interface ListKeys {
  shape: string
  filter: string
}

export function buildListKeys(selection: Selection): ListKeys {
  const { name, count, countLimit, size } = selection
  return {
    shape: `${name} ${count} ${countLimit} ${size} ${computeShape(selection)}`,
    filter: `${name} ${count} ${countLimit} ${selection.filter}`,
  }
}

const buildPageKey = ({ shape, filter }: ListKeys, { place }: Selection): string => `${shape} ${filter} ${JSON.stringify(place)}`

/** Memory of one database. `S` is the statements of a shape, `K` the count of a filter. */
export class ListMemory<S extends { [name in keyof S]: Statement }, K extends object> {
  readonly counts = new Memory<K>()
  readonly #build: (selection: Selection) => S
  readonly #statements = new Memory<S>()
  readonly #slow = new Memory<number>()

  /** `build` compiles the statements of a selection's shape. */
  constructor(build: (selection: Selection) => S) {
    this.#build = build
  }

  findStatements(selection: Selection, { shape }: ListKeys): S {
    let statements = this.#statements.get(shape)
    if (!statements) {
      statements = this.#build(selection)
      this.#statements.set(shape, statements, estimateBytes(Object.values<Statement>(statements)))
    }
    return statements
  }

  isSlow(keys: ListKeys, selection: Selection): boolean {
    return this.#slow.size > 0 && (this.#slow.get(buildPageKey(keys, selection)) ?? 0) > Date.now()
  }

  noteSlow(keys: ListKeys, selection: Selection): void {
    this.#slow.set(buildPageKey(keys, selection), Date.now() + SLOW_TIME)
  }
}

function estimateBytes(statements: readonly Statement[]): number {
  return statements.reduce((sum, { text }) => sum + STATEMENT_OVERHEAD + BYTES_PER_CHARACTER * text.length, 0)
}
