// Substring search on SQLite: an FTS5 trigram index over the folded text.
import { type SQL, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Dialect, Served } from '../database.ts'
import { FOLD_VERSION, fold } from '../fold.ts'
import type { Derived } from '../migrations.ts'
import { reindex, searchTable } from '../search.ts'

/** A term of one or two characters has no trigram, but is the beginning of one if two characters follow the end of every text. */
const PADDING = 'char(31, 31)'

/** Above so many occurrences of a short term it is cheaper to look into each row than to read the list of them. */
const MAX_POSTINGS = 20_000

export function searchIndex(served: Served, dialect: Dialect): Derived {
  const table = searchTable(served.table)
  const [index, padded, postings] = [`${table}_fts`, `${table}_padded`, `${table}_postings`]
  const fields = served.folded.join(', ')
  const padding = (row: string) => served.folded.map((field) => `${row}${field} || ${PADDING}`).join(', ')
  const unindex = `insert into ${index} (${index}, rowid, ${fields}) values ('delete', old.id, ${padding('old.')});`
  const add = `insert into ${index} (rowid, ${fields}) values (new.id, ${padding('new.')});`
  return {
    name: table,
    version: FOLD_VERSION,
    lostInRebuild: false,
    statements: [
      `drop table if exists ${postings}`,
      `drop table if exists ${index}`,
      `drop view if exists ${padded}`,
      `drop table if exists ${table}`,
      `create table ${table} (id integer primary key, ${served.folded.map((field) => `${field} text`).join(', ')})`,
      ...served.prefixed.map((field) => `create index ${table}_by_${field} on ${table} (${field})`),
      `create view ${padded} as select id, ${served.folded.map((field) => `${field} || ${PADDING} as ${field}`).join(', ')} from ${table}`,
      `create virtual table ${index} using fts5(${fields}, content='${padded}', content_rowid='id', tokenize='trigram case_sensitive 1')`,
      `create virtual table ${postings} using fts5vocab(${index}, instance)`,
      `create trigger ${table}_inserted after insert on ${table} begin ${add} end`,
      `create trigger ${table}_deleted after delete on ${table} begin ${unindex} end`,
      `create trigger ${table}_updated after update on ${table} begin ${unindex} ${add} end`,
    ],
    fill: (tx) => reindex((work) => work(tx), dialect, served),
  }
}

/** The padding, which the index would find where it is no part of the text, and the characters that FTS5 takes for each other. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the padding is one
const UNINDEXED = /[\u001f\ufffd-\uffff]/

export function contains(table: string, id: SQLiteColumn, fields: readonly string[], term: string): SQL {
  const folded = fold(term)
  if (UNINDEXED.test(folded)) return containsUnindexed(table, id, fields, folded)
  return [...folded].length < 3 ? containsShort(table, id, fields, folded) : containsLong(table, id, fields, folded)
}

function containsUnindexed(table: string, id: SQLiteColumn, fields: readonly string[], term: string): SQL {
  const inField = fields.map((field) => sql`instr(s.${sql.identifier(field)}, ${term}) > 0`)
  return sql`exists (select 1 from ${sql.identifier(searchTable(table))} s where s.id = ${id} and (${sql.join(inField, sql` or `)}))`
}

/** Trigrams of a term that are looked up together. A phrase of many would be compared at every place of every text that has them. */
const MAX_TRIGRAMS = 8

function containsLong(table: string, id: SQLiteColumn, fields: readonly string[], term: string): SQL {
  const index = sql.identifier(`${searchTable(table)}_fts`)
  const matches = (query: string) => sql`${id} in (select rowid from ${index} where ${index} match ${`{${fields.join(' ')}} : (${query})`})`
  const quote = (text: string) => `"${text.replaceAll('"', '""')}"`
  const characters = [...term]
  if (characters.length < 3 + MAX_TRIGRAMS) return matches(quote(term))
  const places = Array.from({ length: MAX_TRIGRAMS }, (_, part) => Math.floor((part * (characters.length - 3)) / (MAX_TRIGRAMS - 1)))
  const trigrams = new Set(places.map((place) => quote(characters.slice(place, place + 3).join(''))))
  return sql`(${matches([...trigrams].join(' AND '))} and ${containsUnindexed(table, id, fields, term)})`
}

/** SQLite evaluates each subquery once, and the one of the branch not taken never. */
function containsShort(table: string, id: SQLiteColumn, fields: readonly string[], term: string): SQL {
  const occurrences = sql`from ${sql.identifier(`${searchTable(table)}_postings`)} where term >= ${term} and term <= ${`${term}\u{10ffff}\u{10ffff}`}
    and col in (${sql.join(
      fields.map((field) => sql`${field}`),
      sql`, `,
    )})`
  return sql`case when (select count(*) from (select 1 ${occurrences} limit ${MAX_POSTINGS + 1})) > ${MAX_POSTINGS}
    then ${containsUnindexed(table, id, fields, term)}
    else ${id} in (select doc ${occurrences}) end`
}
