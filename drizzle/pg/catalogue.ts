// Lists the parts of a PostgreSQL schema, declared and present.
import { sql } from 'drizzle-orm'
import { getTableConfig, PgDialect, type PgTable } from 'drizzle-orm/pg-core'
import type { SQLiteTable } from 'drizzle-orm/sqlite-core'
import type { Index, Reference } from '../database.ts'
import { describeTable, parseRequired, readIndexes, readReferences, type SchemaParts } from '../schema-parts.ts'
import type { Tables } from '../tables.ts'

const dialect = new PgDialect()

/** Reads the configuration of a table. All other code sees tables with SQLite's types. */
const getConfig = (table: SQLiteTable) => getTableConfig(table as unknown as PgTable)

export const listIndexes = (table: SQLiteTable): Index[] => readIndexes(getConfig(table), (where) => dialect.sqlToQuery(where).sql)

export const listReferences = (table: SQLiteTable): Reference[] => readReferences(getConfig(table))

export const buildSchemaParts = (tables: Tables): SchemaParts => ({
  declaredParts: new Map(Object.values(tables).flatMap((table: SQLiteTable) => describeTable(getConfig(table), listIndexes(table)))),
  read: async (tx) => new Set((await tx.all<{ part: string }>(PARTS)).map(({ part }) => part)),
  readRequired: async (tx) => parseRequired(await tx.all(REQUIRED)),
})

/** Excludes invalid indexes, which a failed `create index concurrently` leaves behind: they enforce nothing. */
const PARTS = sql`
  with tables as (
    select oid, relname as name from pg_class
      where relkind in ('r', 'p') and pg_table_is_visible(oid) and relnamespace <> 'pg_catalog'::regnamespace)
  select 'table ' || name as part from tables
  union all
  select 'column ' || tables.name || '.' || attname from tables join pg_attribute on attrelid = tables.oid where attnum > 0 and not attisdropped
  union all
  select 'reference ' || tables.name || '.' || (
      select string_agg(attname::text, ', ' order by place) from unnest(conkey) with ordinality keys (number, place)
        join pg_attribute on attrelid = tables.oid and attnum = keys.number) || ' to ' || target.relname
    from tables join pg_constraint on conrelid = tables.oid and contype = 'f' join pg_class target on target.oid = confrelid
  union all
  select case when indpred is null then '' else 'partial ' end || case when indisunique then 'unique ' else '' end || 'index ' ||
      index.relname || ' on ' || tables.name || ' (' || (
        select string_agg(coalesce(attname::text, 'expression'), ', ' order by place) from unnest(indkey::int2[]) with ordinality keys (number, place)
          left join pg_attribute on attrelid = tables.oid and attnum = keys.number where place <= indnkeyatts) || ')'
    from tables join pg_index on indrelid = tables.oid join pg_class index on index.oid = indexrelid where indisvalid`

const REQUIRED = sql`
  select relname as table_name, attname as column_name from pg_class join pg_attribute on attrelid = pg_class.oid
    where relkind in ('r', 'p') and pg_table_is_visible(pg_class.oid) and relnamespace <> 'pg_catalog'::regnamespace
      and attnum > 0 and not attisdropped and attnotnull and not atthasdef and attidentity = '' and attgenerated = ''`
