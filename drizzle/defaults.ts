// Defaults of columns whose stored values differ from the values in rows.
import { is, SQL, sql } from 'drizzle-orm'

/**
 * Makes `.default(value)` of a column accept the value as rows show it. drizzle-kit copies a default into the SQL, so the SQL needs the
 * stored value. `.default` throws TypeError for a value that the column cannot store exactly.
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
  if (!Number.isSafeInteger(stored))
    throw new TypeError(`The default ${JSON.stringify(value)} cannot be stored exactly: choose a value of the column`)
  return sql.raw(String(stored))
}
