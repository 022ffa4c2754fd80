// Records what an import did, with the old values that it kept, a batch at a time.
import { inArray, type SQL, sql } from 'drizzle-orm'
import type { Database, Queries, ServedTable } from '../../drizzle/database.ts'
import { BATCH } from '../../drizzle/search.ts'
import { placeholder } from '../../drizzle/statement.ts'
import { type Actor, created, recordChanges, updated } from '../changes.ts'
import { columnsOf, type Row, shownOf } from '../query/rows.ts'
import { products } from '../resources/products.ts'

/** `ids` are of the products that were made; those that were changed are in `staged_before` as they had been. */
export async function recordMerged(db: Database, tx: Queries, ids: readonly number[], by: Actor): Promise<void> {
  const table: ServedTable = db.tables.products
  for (let start = 0; start < ids.length; start += BATCH) {
    const some = inArray(table.id, ids.slice(start, start + BATCH))
    const rows = (await tx.select(columnsOf(db, products)).from(table).where(some).orderBy(table.id)) as Row[]
    await recordChanges(
      tx,
      db,
      products,
      by,
      rows.map((row) => created(products, row)),
    )
  }
  const { columns, toRow } = shownOf(db, products)
  const after = sql`id > ${placeholder(0)} order by id limit ${sql.raw(String(BATCH))}`
  const rowsOf = async (query: SQL, last: number) => (await tx.prepared(query, [last])).map(toRow)
  // Under the name of the table, by which the columns are called.
  const before = sql`select ${sql.join([...columns], sql`, `)} from staged_before as products where ${after}`
  const now = sql`select ${sql.join([...columns], sql`, `)} from products where id in (select id from staged_before where ${after}) order by id`
  for (let last = 0; ; ) {
    const [old, current] = [await rowsOf(before, last), await rowsOf(now, last)]
    const changes = old.flatMap((row, place) => {
      const found = current[place]
      return found?.id === row.id ? [updated(products, row, found)] : []
    })
    await recordChanges(tx, db, products, by, changes)
    last = old.at(-1)?.id ?? 0
    if (old.length < BATCH) return
  }
}
