// Runs statements that each connection prepares once.
import { PgDialect } from 'drizzle-orm/pg-core'
import pg from 'pg'
import { createCompiler, type Statement } from '../statement.ts'
import { hasConnectionEnded } from './failures.ts'

export const compile = createCompiler(new PgDialect())

/** Statements that a connection keeps prepared. It never frees one, and each takes some 17 kB. */
const MAX_PREPARED = 200

/** The same on every connection of the process. */
const names = new Map<string, string>()

function nameStatement(text: string): string | undefined {
  let name = names.get(text)
  if (name === undefined && names.size < MAX_PREPARED) {
    name = `stockroom_${names.size}`
    names.set(text, name)
  }
  return name
}

/** Times as the server writes them: the driver would make them dates, which have no place in a cursor. */
const parsers: Record<number, (text: string) => unknown> = {
  [pg.types.builtins.TIMESTAMPTZ]: (text) => text,
  // No whole number here is beyond what JSON carries safely.
  [pg.types.builtins.INT8]: Number,
}
const types = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') => parsers[oid] ?? pg.types.getTypeParser(oid, format as 'text'),
} as pg.CustomTypesConfig

/** The rows, each as an array of what the driver makes of its columns. */
export async function queryRows(on: pg.Pool | pg.ClientBase, { text, binds }: Statement, values: readonly unknown[]): Promise<unknown[][]> {
  const name = nameStatement(text)
  const bound = binds.map((place) => values[place])
  const run = () => on.query<unknown[]>({ ...(name && { name }), text, values: bound, rowMode: 'array', types })
  // A pool is only read from: what a connection did not answer, another may be asked.
  for (let others = on instanceof pg.Pool ? on.options.max : 0; ; others--) {
    try {
      return (await run()).rows
    } catch (error) {
      if (others === 0 || !hasConnectionEnded(error)) throw error
    }
  }
}
