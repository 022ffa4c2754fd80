// The order of the change log on PostgreSQL, and its repair after a backup was restored into another cluster.
import { randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { LogOrder, Queries } from '../database.ts'

/** Orders entries by (transaction, id). Both are assigned before the commit, but PostgreSQL knows which transactions are still running. */
export const logOrder: LogOrder = {
  isAfter: (change) =>
    sql`(transaction, id) > (coalesce((select transaction from changes where id = ${change}), '0'::xid8), coalesce((select id from changes where id = ${change}), 0))`,
  isSettled: sql`transaction < pg_snapshot_xmin(pg_current_snapshot())`,
  ascending: sql`transaction, id`,
  descending: sql`transaction desc, id desc`,
}

/** A transaction id before all that a cluster assigns. */
const PAST = sql`'1'::xid8`
const CHECK_BYTES = 6

/**
 * Adopts the log of another cluster. Each cluster numbers its own transactions, so after a restore into a cluster with lower numbers, old
 * entries would seem to lie in the future. Their order then becomes that of the ids. If that changes the order, some entries now precede
 * entries that clients have read already, so their positions get another check and become invalid. Returns the names of the applied steps.
 */
export async function adoptForeignLog(tx: Queries): Promise<string[]> {
  const [foreign] = await tx.all(sql`select 1 from changes where transaction >= pg_snapshot_xmax(pg_current_snapshot()) limit 1`)
  if (!foreign) return []
  const check = randomBytes(CHECK_BYTES).toString('base64url')
  await tx.run(sql`insert into stockroom_feed (name, change, digest)
    select 'restored', max(id), ${check} from (
      select id, transaction, max(transaction::text::numeric) over (order by id) as highest from changes
    ) as ordered where transaction::text::numeric < highest having count(*) > 0
    on conflict (name) do update set change = greatest(stockroom_feed.change, excluded.change), digest = excluded.digest`)
  await tx.run(sql`update stockroom_feed set digest = ${check} where name = 'pruned' and change > (select min(id) from changes)`)
  await tx.run(sql`update changes set transaction = ${PAST} where transaction <> ${PAST}`)
  return ['change log of another cluster']
}
