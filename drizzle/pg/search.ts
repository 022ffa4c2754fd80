// Substring search on PostgreSQL: one GIN index of the trigrams of folded text, and of short sequences, which have no trigrams.
import { type SQL, sql } from 'drizzle-orm'
import { joinAnd } from '../conditions.ts'
import type { Dialect, ServedResource } from '../database.ts'
import { FOLD_VERSION, fold } from '../fold.ts'
import type { DerivedPart } from '../migrations.ts'
import { describeColumns } from '../schema-parts.ts'
import { nameSearchTable, reindex } from '../search.ts'
import { quoteName } from '../statement.ts'

/** A function that lists the sequences of one and two characters with one beyond ASCII. Chinese words are that short; useful ASCII words are not. */
export const gramsFunction: DerivedPart = {
  name: 'stockroom_grams',
  isLostInRebuild: false,
  needs: [],
  statements: [
    `create or replace function stockroom_grams(content text) returns text[] language sql immutable strict parallel safe as $$
      select case when octet_length(content) = char_length(content) then '{}' else (
        select coalesce(array_agg(distinct gram), '{}') from (
          select unnest(array[one, one || lead(one) over (order by place)]) as gram
          from unnest(string_to_array(content, null)) with ordinality as characters (one, place)
        ) as all_grams where octet_length(gram) > char_length(gram)
      ) end
    $$`,
  ],
  fill: async () => {},
}

export const buildGrams = (texts: readonly SQL[]): SQL =>
  sql`stockroom_grams(${sql.join(
    texts.map((text) => sql`coalesce(${text}, '')`),
    sql` || E'\\x1f' || `,
  )})`

export function buildSearchIndex(served: ServedResource, dialect: Dialect): DerivedPart {
  const table = nameSearchTable(served.table)
  const names = served.foldedFields.map(quoteName)
  const content = names.map((field) => `coalesce(${field}, '')`).join(` || E'\\x1f' || `)
  return {
    name: table,
    version: FOLD_VERSION,
    isLostInRebuild: false,
    needs: describeColumns(table, ['id', ...served.foldedFields, 'grams']),
    statements: [
      `drop table if exists ${table}`,
      `create table ${table} (
        id bigint primary key references ${quoteName(served.table)} (id) on delete cascade,
        ${names.map((field) => `${field} text collate "C"`).join(', ')},
        grams text[] generated always as (stockroom_grams(${content})) stored)`,
      ...served.prefixedFields.map((field) => `create index ${table}_by_${field} on ${table} (${quoteName(field)})`),
      `create index ${table}_trigrams on ${table} using gin (${names.map((field) => `${field} gin_trgm_ops`).join(', ')}, grams)`,
    ],
    fill: (tx) => reindex((work) => work(tx), dialect, served),
  }
}

export const contains: Dialect['contains'] = (table, id, fields, terms) => {
  const folded = terms.map(fold)
  const grams = folded.filter(hasGram)
  const isIn = (values: readonly SQL[]) => {
    const inFields = folded.map((term, index) => {
      // LIKE with a pattern without trigrams would read the whole index.
      const test = (field: SQL) => (isShort(term) ? sql`strpos(${field}, ${values[index]}) > 0` : sql`${field} like ${values[index]}`)
      return sql`(${sql.join(
        fields.map((field) => test(sql`${sql.identifier(field)}`)),
        sql` or `,
      )})`
    })
    return joinAnd([...(grams.length > 0 ? [sql`grams @> ${values[folded.length]}`] : []), ...inFields])
  }
  const texts = sql`${sql.identifier(nameSearchTable(table))} texts where texts.id = ${id}`
  return {
    isDefinite: true,
    variant: `${folded.map((term) => (isShort(term) ? 'short' : 'long'))}${grams.length > 0 ? ' grams' : ''}`,
    values: [
      ...folded.map((term) => (isShort(term) ? term : `%${term.replace(/[\\%_]/g, '\\$&')}%`)),
      ...(grams.length > 0 ? [grams] : []),
    ],
    // No index finds ASCII terms of one or two characters.
    isUnindexed: folded.every(isShort) && grams.length === 0,
    // PostgreSQL turns EXISTS and NOT EXISTS into joins.
    check: (...values) => sql`exists (select 1 from ${texts} and ${isIn(values)})`,
    lookUp: (...values) => sql`(select ${isIn(values)} from ${texts})`,
  }
}

const isShort = (term: string) => [...term].length < 3

/** Returns whether the index of grams finds a short term. `strpos` then finds its field. ASCII terms need a scan. */
const hasGram = (term: string) => isShort(term) && Buffer.byteLength(term) > term.length
