// Runs statements on PostgreSQL, which each connection prepares once.
import { PgDialect } from 'drizzle-orm/pg-core'
import { LRUCache } from 'lru-cache'
import pg from 'pg'
import { createCompiler, type Statement } from '../statement.ts'
import { hasConnectionEnded } from './failures.ts'

export const compile = createCompiler(new PgDialect())

/** Statements that a connection keeps prepared. Each takes some 17 kB of the server's memory on every connection. */
const MAX_PREPARED = 200

/** Evicted statements after which a connection frees them, so that a flood of new statements does not cost a round trip each. */
const FREE_AFTER = 20

/** Names of the statements that were used last, by their text. They are the same on every connection. */
const names = new LRUCache<string, string>({ max: MAX_PREPARED })

/** The number of names given so far. A name is never given twice: a connection may still know it under another text. */
let nameCount = 0

function nameStatement(text: string): string {
  let name = names.get(text)
  if (name === undefined) {
    name = `stockroom_${nameCount++}`
    names.set(text, name)
  }
  return name
}

/** The value of `nameCount` when a connection last freed statements. */
const freedAt = new WeakMap<pg.Client, number>()

/** Frees the evicted statements of a connection. Call it when a pool hands the connection out, before it runs anything. */
export function freeEvicted(client: pg.Client): void {
  const newNames = nameCount - (freedAt.get(client) ?? MAX_PREPARED)
  if (newNames < FREE_AFTER) return
  freedAt.set(client, nameCount)
  // The driver prepares a statement again if its name is missing here; it exports no type for it.
  const { parsedStatements } = client.connection as unknown as { parsedStatements: Record<string, string> }
  const evicted = Object.entries(parsedStatements).filter(([name, text]) => names.peek(text) !== name)
  if (evicted.length === 0) return
  for (const [name] of evicted) delete parsedStatements[name]
  // On a lost connection the caller's own statement fails too.
  client.query(evicted.map(([name]) => `deallocate ${name}`).join('; ')).catch(() => {})
}

/** Parsers of values. Times stay the server's text, because a cursor cannot hold the driver's dates. */
const parsers: Record<number, (text: string) => unknown> = {
  [pg.types.builtins.TIMESTAMPTZ]: (text) => text,
  // All integers here are safe integers of JSON.
  [pg.types.builtins.INT8]: Number,
}
const types = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') => parsers[oid] ?? pg.types.getTypeParser(oid, format as 'text'),
} as pg.CustomTypesConfig

/** Runs a statement and returns its rows as arrays of the driver's values. */
export async function queryRows(on: pg.Pool | pg.ClientBase, { text, binds }: Statement, values: readonly unknown[]): Promise<unknown[][]> {
  const name = nameStatement(text)
  const bound = binds.map((place) => values[place])
  const run = () => on.query<unknown[]>({ name, text, values: bound, rowMode: 'array', types })
  // Statements on a pool only read, so another connection can try again.
  for (let others = on instanceof pg.Pool ? on.options.max : 0; ; others--) {
    try {
      return (await run()).rows
    } catch (error) {
      if (others === 0 || !hasConnectionEnded(error)) throw error
    }
  }
}
