// Statements: SQL that is compiled once and runs with other values each time.
import { Placeholder, type SQL, sql } from 'drizzle-orm'
import { memoize } from './memoize.ts'

/** SQL text, and for each of its parameters the index of the value to bind. */
export interface Statement {
  text: string
  binds: readonly number[]
}

/** Quotes the name of a table or column. SQL reserves words such as `order` and `from`. */
export const quoteName = (name: string): string => `"${name}"`

/** Builds the placeholder of the value at an index. */
export const placeholder = (index: number): SQL => sql`${sql.placeholder(String(index))}`

/** Returns a function that compiles SQL in which every value is a placeholder. It compiles each object once. */
export function createCompiler(dialect: { sqlToQuery(query: SQL): { sql: string; params: unknown[] } }): (query: SQL) => Statement {
  return memoize((query: SQL) => {
    const { sql: text, params } = dialect.sqlToQuery(query)
    return { text, binds: params.map((param) => parsePlace(param, text)) }
  })
}

function parsePlace(param: unknown, text: string): number {
  if (!(param instanceof Placeholder)) throw new TypeError(`A value instead of a placeholder: use placeholder() in ${text}`)
  return Number(param.name)
}
