// Triggers on every served table: they count its rows and its changes, whoever writes, and keep row versions from repeating.
import { sql } from 'drizzle-orm'
import type { ServedResource } from '../database.ts'
import type { DerivedPart } from '../migrations.ts'
import { describeColumns } from '../schema-parts.ts'
import { nameSearchTable } from '../search.ts'
import { quoteName } from '../statement.ts'

export const counterTable: DerivedPart = {
  name: 'stockroom_counters',
  isLostInRebuild: false,
  needs: describeColumns('stockroom_counters', ['name', 'version', 'nonce', 'row_count']),
  // Whoever changes this changes the triggers too: they are then made anew, and fill it again.
  statements: [
    'drop table if exists stockroom_counters',
    'create table stockroom_counters (name text primary key, version integer not null, nonce integer not null, row_count integer not null)',
  ],
  fill: async () => {},
}

/** Where a backup is restored, versions begin again at one that was there before: what is written then differs from what was written by this. */
const NONCE = 'abs(random() % 1099511627776)'

export function buildCounterTriggers({ table, foldedFields: folded }: ServedResource): DerivedPart {
  const count = (rows: string) => `update stockroom_counters set version = version + 1, nonce = ${NONCE}${rows} where name = '${table}';`
  const name = quoteName(table)
  const triggers = {
    inserted: `after insert on ${name} begin ${count(', row_count = row_count + 1')} end`,
    updated: `after update on ${name} begin ${count('')} end`,
    deleted: `after delete on ${name} begin ${count(', row_count = row_count - 1')}
      ${folded.length > 0 ? `delete from ${nameSearchTable(table)} where id = old.id;` : ''} end`,
    // A writer that knows nothing of versions must not leave a changed row under its old one: an ETag would repeat.
    versioned: `after update on ${name} when new.version <= old.version begin
      update ${name} set version = old.version + 1 where id = new.id; end`,
  }
  return {
    name: `${table}_counters`,
    isLostInRebuild: true,
    needs: [],
    statements: Object.entries(triggers).flatMap(([event, body]) => [
      `drop trigger if exists ${table}_${event}`,
      `create trigger ${table}_${event} ${body}`,
    ]),
    fill: (tx) =>
      tx.run(sql`insert into stockroom_counters (name, version, nonce, row_count) select ${table}, 1, ${sql.raw(NONCE)}, count(*) from ${sql.identifier(table)} where true
        on conflict (name) do update set version = version + 1, nonce = excluded.nonce, row_count = excluded.row_count`),
  }
}
