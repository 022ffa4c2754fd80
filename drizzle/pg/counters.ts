// Triggers on every served table. They count its rows and its changes by any program, and keep row versions from repeating.
import { sql } from 'drizzle-orm'
import type { ServedResource } from '../database.ts'
import type { DerivedPart } from '../migrations.ts'
import { describeColumns } from '../schema-parts.ts'
import { quoteName } from '../statement.ts'

/** Counter rows of a table. Each transaction takes a free one, because all writers would wait for each other at a single row. */
const SLOTS = 64

/** A random number for each write. A restored backup repeats versions; the nonces of the writes after it differ. */
const NONCE = '(random() * 1099511627776)::bigint'

export const counterTable: DerivedPart = {
  name: 'stockroom_counters',
  isLostInRebuild: false,
  needs: describeColumns('stockroom_counters', ['name', 'slot', 'version', 'nonce', 'row_count']),
  statements: [
    // In half-empty pages an update stays on its page, so the index of the counters does not grow.
    `create table if not exists stockroom_counters (name text, slot integer, version bigint not null, row_count bigint not null, primary key (name, slot))
      with (fillfactor = 50)`,
    'alter table stockroom_counters add column if not exists nonce bigint not null default 0',
    `create or replace function stockroom_add(counter text, added bigint) returns void language plpgsql as $$
      begin
        update stockroom_counters set version = version + 1, nonce = ${NONCE}, row_count = row_count + added where name = counter and slot = (
          select slot from stockroom_counters where name = counter order by slot limit 1 for update skip locked);
        if not found then
          update stockroom_counters set version = version + 1, nonce = ${NONCE}, row_count = row_count + added
            where name = counter and slot = pg_backend_pid() % ${SLOTS};
        end if;
      end $$`,
    `create or replace function stockroom_inserted() returns trigger language plpgsql as $$
      begin perform stockroom_add(tg_table_name, count(*)) from changed having count(*) > 0; return null; end $$`,
    `create or replace function stockroom_deleted() returns trigger language plpgsql as $$
      begin perform stockroom_add(tg_table_name, -count(*)) from changed having count(*) > 0; return null; end $$`,
    `create or replace function stockroom_updated() returns trigger language plpgsql as $$
      begin perform stockroom_add(tg_table_name, 0) where exists (select from changed); return null; end $$`,
    `create or replace function stockroom_truncated() returns trigger language plpgsql as $$
      begin update stockroom_counters set version = version + 1, nonce = ${NONCE}, row_count = 0 where name = tg_table_name; return null; end $$`,
    `create or replace function stockroom_versioned() returns trigger language plpgsql as $$
      begin new.version := old.version + 1; return new; end $$`,
  ],
  fill: async () => {},
}

export function buildCounterTriggers({ table }: ServedResource): DerivedPart {
  const name = quoteName(table)
  const triggers = {
    inserted: `after insert on ${name} referencing new table as changed for each statement`,
    updated: `after update on ${name} referencing new table as changed for each statement`,
    deleted: `after delete on ${name} referencing old table as changed for each statement`,
    truncated: `after truncate on ${name} for each statement`,
    // A program that does not raise `version` would leave a changed row under its old one, and an ETag would repeat.
    versioned: `before update on ${name} for each row when (new.version <= old.version)`,
  }
  return {
    name: `${table}_counters`,
    isLostInRebuild: true,
    needs: [],
    statements: Object.entries(triggers).flatMap(([event, when]) => [
      `drop trigger if exists ${table}_${event} on ${name}`,
      `create trigger ${table}_${event} ${when} execute function stockroom_${event}()`,
    ]),
    fill: (tx) =>
      tx.run(sql`insert into stockroom_counters (name, slot, version, nonce, row_count)
        select ${table}, slot, 1, ${sql.raw(NONCE)}, case slot when 0 then (select count(*) from ${sql.identifier(table)}) else 0 end from generate_series(0, ${SLOTS - 1}) as slot
        on conflict (name, slot) do update set version = stockroom_counters.version + 1, nonce = excluded.nonce, row_count = excluded.row_count`),
  }
}
