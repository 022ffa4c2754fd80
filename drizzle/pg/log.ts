// The order of the change log on PostgreSQL, and what becomes of it where a backup is restored into another cluster.
import { randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { LogOrder, Queries } from '../database.ts'

/** Ids are given out before their transactions commit. Those of transactions are too, but which of them are still under way is known. */
export const logOrder: LogOrder = {
  isAfter: (change) =>
    sql`(transaction, id) > (coalesce((select transaction from changes where id = ${change}), '0'::xid8), coalesce((select id from changes where id = ${change}), 0))`,
  isSettled: sql`transaction < pg_snapshot_xmin(pg_current_snapshot())`,
  ascending: sql`transaction, id`,
  descending: sql`transaction desc, id desc`,
}

/** Before all that a cluster gives out for use. */
const PAST = sql`'1'::xid8`
const CHECK_BYTES = 6

/**
 * Transactions are numbered by the cluster. In a database that was restored into another one, whose numbers are lower, all that was
 * recorded before would be yet to come: then the order of ids stands in for that of the transactions. Where the two differ, some
 * entries are now before others that a client has already had: its position is given another check, and holds no longer. Returns the
 * name of what was done.
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
