// Statements: SQL that is compiled once and runs with other values each time.
import { Placeholder, type SQL, sql } from 'drizzle-orm'

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
  const compiled = new WeakMap<SQL, Statement>()
  return (query) => {
    let statement = compiled.get(query)
    if (!statement) {
      const { sql: text, params } = dialect.sqlToQuery(query)
      statement = { text, binds: params.map((param) => parsePlace(param, text)) }
      compiled.set(query, statement)
    }
    return statement
  }
}

function parsePlace(param: unknown, text: string): number {
  if (!(param instanceof Placeholder)) throw new TypeError(`A value instead of a placeholder: use placeholder() in ${text}`)
  return Number(param.name)
}
