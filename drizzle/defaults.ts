// Defaults of columns that store another value than they show.
import { is, SQL, sql } from 'drizzle-orm'

/**
 * Makes `.default(value)` of a column take the value as rows show it. drizzle-kit writes a default into the SQL as it is, so it has
 * to be the stored value. Throws a TypeError for a value that the column cannot store exactly.
 */
export const encodeDefault = <T, B extends { default(value: T | SQL): unknown }>(
  builder: B,
  toDriver: (value: T) => number | string,
): B => {
  const setDefault = builder.default.bind(builder)
  return Object.assign(builder, {
    default: (value: T | SQL) => setDefault(is(value, SQL) ? value : formatDefault(value, toDriver(value))),
  })
}

function formatDefault(value: unknown, stored: number | string): SQL {
  if (typeof stored === 'string') return sql.raw(`'${stored.replaceAll("'", "''")}'`)
  if (!Number.isSafeInteger(stored)) throw new TypeError(`the default ${JSON.stringify(value)} is no value of its column`)
  return sql.raw(String(stored))
}
