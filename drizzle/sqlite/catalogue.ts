// Lists the parts of a SQLite schema, declared and present.
import { sql } from 'drizzle-orm'
import { getTableConfig, SQLiteSyncDialect, type SQLiteTable } from 'drizzle-orm/sqlite-core'
import type { Index, Reference } from '../database.ts'
import { describeTable, parseRequired, readIndexes, readReferences, type SchemaParts } from '../schema-parts.ts'
import type { Tables } from '../tables.ts'

const dialect = new SQLiteSyncDialect()

export const listIndexes = (table: SQLiteTable): Index[] => readIndexes(getTableConfig(table), (where) => dialect.sqlToQuery(where).sql)

export const listReferences = (table: SQLiteTable): Reference[] => readReferences(getTableConfig(table))

export const buildSchemaParts = (tables: Tables): SchemaParts => ({
  declaredParts: new Map(Object.values(tables).flatMap((table: SQLiteTable) => describeTable(getTableConfig(table), listIndexes(table)))),
  read: async (tx) => new Set((await tx.all<{ part: string }>(PARTS)).map(({ part }) => part)),
  readRequired: async (tx) => parseRequired(await tx.all(REQUIRED)),
})

const PARTS = sql`
  with tables (name) as (select name from sqlite_master where type = 'table')
  select 'table ' || name as part from tables
  union all
  select 'column ' || tables.name || '.' || found.name from tables, pragma_table_info(tables.name) found
  union all
  select 'reference ' || tables.name || '.' || group_concat(found."from", ', ' order by found.seq) || ' to ' || found."table"
    from tables, pragma_foreign_key_list(tables.name) found group by tables.name, found.id
  union all
  select iif(found.partial, 'partial ', '') || iif(found."unique", 'unique ', '') || 'index ' || found.name || ' on ' || tables.name || ' (' ||
      (select group_concat(coalesce(key.name, 'expression'), ', ' order by key.seqno) from pragma_index_info(found.name) key) || ')'
    from tables, pragma_index_list(tables.name) found`

/** Excludes primary keys, because SQLite generates a single integer key. */
const REQUIRED = sql`
  select tables.name as table_name, found.name as column_name from sqlite_master tables, pragma_table_info(tables.name) found
    where tables.type = 'table' and found."notnull" = 1 and found.dflt_value is null and found.pk = 0`
