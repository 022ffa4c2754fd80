// What an import did gets its search text and its entries in the change log, a batch at a time.
import { inArray, sql } from 'drizzle-orm'
import type { Database, Queries, ServedTable } from '../../drizzle/database.ts'
import { BATCH, index } from '../../drizzle/search.ts'
import { placeholder } from '../../drizzle/statement.ts'
import { type Actor, created, recordChanges, updated } from '../changes.ts'
import type { Resource } from '../query/resource.ts'
import { columnsOf, type Row, shownOf } from '../query/rows.ts'

/** `ids` are of the records that were created. */
export async function recordCreated(db: Database, tx: Queries, resource: Resource, ids: readonly number[], by: Actor): Promise<void> {
  const table: ServedTable = db.tables[resource.table]
  const made = (row: Row) => created(resource, row)
  for (let start = 0; start < ids.length; start += BATCH) {
    const some = inArray(table.id, ids.slice(start, start + BATCH))
    const rows = (await tx.select(columnsOf(db, resource)).from(table).where(some).orderBy(table.id)) as Row[]
    await index(tx, resource.served, rows)
    await recordChanges(tx, db, resource, by, rows.map(made))
  }
}

/** The records that were changed are in `staged_before`, as they had been. Returns how many there are. */
export async function recordUpdated(db: Database, tx: Queries, resource: Resource, by: Actor): Promise<number> {
  const { columns, toRow } = shownOf(db, resource)
  const shown = sql.join([...columns], sql`, `)
  const batch = sql`id > ${placeholder(0)} order by id limit ${sql.raw(String(BATCH))}`
  const table = sql.identifier(resource.table)
  // Under the name of the table, by which the columns are called.
  const before = sql`select ${shown} from staged_before as ${table} where ${batch}`
  const after = sql`select ${shown} from ${table} where id in (select id from staged_before where ${batch}) order by id`
  let count = 0
  for (let last = 0, more = true; more; ) {
    const old = (await tx.prepared(before, [last])).map(toRow)
    const current = (await tx.prepared(after, [last])).map(toRow)
    await index(tx, resource.served, current)
    const changed = current.map((row, place) => updated(resource, old[place] as Row, row))
    await recordChanges(tx, db, resource, by, changed)
    count += changed.length
    last = old.at(-1)?.id ?? last
    more = old.length === BATCH
  }
  return count
}
