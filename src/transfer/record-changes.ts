// Writes the search texts and the change log entries of an import, in batches.
import { inArray, sql } from 'drizzle-orm'
import { BATCH } from '../../drizzle/batches.ts'
import type { Database, Queries } from '../../drizzle/database.ts'
import { indexRows } from '../../drizzle/search.ts'
import type { ServedTable } from '../../drizzle/served.ts'
import { placeholder } from '../../drizzle/statement.ts'
import { type Actor, buildCreateChange, buildUpdateChange, recordChanges } from '../changelog/record.ts'
import type { Resource } from '../query/resource.ts'
import { getColumnsByField, getProjection, type Row } from '../query/rows.ts'
import type { LineRange } from './plan.ts'

/** Records the creation of the records with these ids. */
export async function recordCreated(tx: Queries, db: Database, resource: Resource, ids: readonly number[], by: Actor): Promise<void> {
  const table: ServedTable = db.tables[resource.table]
  for (let start = 0; start < ids.length; start += BATCH) {
    const isInBatch = inArray(table.id, ids.slice(start, start + BATCH))
    const rows = (await tx.select(getColumnsByField(db, resource)).from(table).where(isInBatch).orderBy(table.id)) as Row[]
    await indexRows(tx, resource.served, rows)
    await recordChanges(
      tx,
      db,
      resource,
      by,
      rows.map((row) => buildCreateChange(resource, row)),
    )
  }
}

/** Records the updates by the lines in a range, and returns their number. `staged_before` holds the states before the updates. */
export async function recordUpdated(tx: Queries, db: Database, resource: Resource, range: LineRange, by: Actor): Promise<number> {
  const { columns, findPlace: place, toRow } = getProjection(db, resource)
  const shown = sql.join([...columns], sql`, `)
  const batch = sql`staged_line > ${placeholder(0)} and staged_line <= ${placeholder(1)} order by staged_line limit ${sql.raw(String(BATCH))}`
  const table = sql.identifier(resource.table)
  // The alias is the name of the table, by which the columns are qualified.
  const before = sql`select ${shown}, staged_line from staged_before as ${table} where ${batch}`
  const after = sql`select ${shown} from ${table} where id in (select id from staged_before where ${batch}) order by id`
  let count = 0
  for (let last = range.after, more = true; more; ) {
    const raw = await tx.runPrepared(before, [last, range.last])
    const old = new Map(raw.map((values) => [Number(values[place('id')]), toRow(values)]))
    const current = (await tx.runPrepared(after, [last, range.last])).map(toRow)
    await indexRows(tx, resource.served, current)
    const changed = current.map((row) => buildUpdateChange(resource, old.get(row.id) as Row, row))
    await recordChanges(tx, db, resource, by, changed)
    count += changed.length
    last = Number(raw.at(-1)?.at(-1) ?? last)
    more = raw.length === BATCH
  }
  return count
}
