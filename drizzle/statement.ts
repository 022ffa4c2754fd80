// Statements whose SQL is compiled once, and run with other values each time.
import { Placeholder, type SQL, sql } from 'drizzle-orm'

/** SQL, and for each of its placeholders the place of the value to bind. */
export interface Statement {
  text: string
  binds: readonly number[]
}

/** Quotes the name of a table or column for SQL that is written as text: `order` and `from` are words of the language. */
export const quoteName = (name: string): string => `"${name}"`

/** Stands for the value with a number. */
export const placeholder = (index: number): SQL => sql`${sql.placeholder(String(index))}`

/** Returns a function that compiles SQL in which every value is a placeholder, each object of it once. */
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
  if (!(param instanceof Placeholder)) throw new TypeError(`a value in place of a placeholder: ${text}`)
  return Number(param.name)
}
