// Triggers on every served table. They count its rows and its changes by any program, and keep row versions from repeating.
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
  // Change the triggers together with these statements: triggers that are created again fill the table.
  statements: [
    'drop table if exists stockroom_counters',
    'create table stockroom_counters (name text primary key, version integer not null, nonce integer not null, row_count integer not null)',
  ],
  fill: async () => {},
}

/** A random number for each write. A restored backup repeats versions; the nonces of the writes after it differ. */
const NONCE = 'abs(random() % 1099511627776)'

export function buildCounterTriggers({ table, foldedFields }: ServedResource): DerivedPart {
  const count = (rows: string) => `update stockroom_counters set version = version + 1, nonce = ${NONCE}${rows} where name = '${table}';`
  const name = quoteName(table)
  const triggers = {
    inserted: `after insert on ${name} begin ${count(', row_count = row_count + 1')} end`,
    updated: `after update on ${name} begin ${count('')} end`,
    deleted: `after delete on ${name} begin ${count(', row_count = row_count - 1')}
      ${foldedFields.length > 0 ? `delete from ${nameSearchTable(table)} where id = old.id;` : ''} end`,
    // A program that does not raise `version` would leave a changed row under its old one, and an ETag would repeat.
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
