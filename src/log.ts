// Reads the change log in its order: nothing is ever put before what was read already.
import { getTableColumns, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Queries } from '../drizzle/database.ts'
import { placeholder } from '../drizzle/statement.ts'
import type { Operation } from './changes.ts'
import { perDatabase } from './memo.ts'
import type { Row } from './query/rows.ts'

/** An entry of the change log. */
export interface Entry {
  id: number
  resource: string
  record: number
  operation: Operation
  version: number
  key: number | null
  request: string | null
  at: string
  fields: Record<string, [old: unknown, current: unknown]>
  reason: string | null
  /** The record afterwards or, deleted, before. Null in entries of versions that did not record it. */
  state: Row | null
}

const statementsOf = perDatabase((db, changes: Database['tables']['changes']) => {
  const { log } = db.dialect
  const { id, resource, record_id, operation, version, key_id, request_id, at, fields, reason, state } = getTableColumns(changes)
  const columns: SQLiteColumn[] = [id, resource, record_id, operation, version, key_id, request_id, at, fields, reason, state]
  const decoded = columns.map((column) => (value: unknown) => (value === null ? null : column.mapFromDriverValue(value)))
  const shown = sql.join(columns, sql`, `)
  return {
    after: sql`select ${shown} from ${changes} where ${log.after(placeholder(0))} and ${log.settled} order by ${log.ascending} limit ${placeholder(1)}`,
    of: sql`select ${shown} from ${changes} where ${resource} = ${placeholder(1)} and ${log.after(placeholder(0))} order by ${log.ascending}`,
    newest: sql`select id from ${changes} where ${log.settled} order by ${log.descending} limit 1`,
    toEntry(raw: readonly unknown[]): Entry {
      const [id, resource, record, operation, version, key, request, at, fields, reason, state] = raw.map((value, place) =>
        decoded[place]?.(value),
      )
      return {
        id: Number(id),
        resource: String(resource),
        record: Number(record),
        operation: operation as Operation,
        version: Number(version),
        key: key as number | null,
        request: request as string | null,
        at: String(at),
        fields: JSON.parse(String(fields)),
        reason: reason as string | null,
        state: state === null ? null : JSON.parse(String(state)),
      }
    },
  }
})

/** Up to `limit` entries that come after the one with the id `change`, in their order. */
export async function readLog(on: Queries, db: Database, change: number, limit: number): Promise<Entry[]> {
  const { after, toEntry } = statementsOf(db, db.tables.changes)
  return (await on.prepared(after, [change, limit])).map(toEntry)
}

/** All entries of a resource after one, also those that others may still be put before. */
export async function readAhead(on: Queries, db: Database, change: number, resource: string): Promise<Entry[]> {
  const { of, toEntry } = statementsOf(db, db.tables.changes)
  return (await on.prepared(of, [change, resource])).map(toEntry)
}

/** The id of the last entry that can be read; 0 where there is none. */
export async function newestChange(on: Queries | Pick<Database, 'rows'>, db: Database): Promise<number> {
  const { newest } = statementsOf(db, db.tables.changes)
  const [[id] = []] = await ('rows' in on ? on.rows(newest, []) : on.prepared(newest, []))
  return Number(id ?? 0)
}
