// Substring search on SQLite: an FTS5 trigram index over the folded text.
import { type SQL, type SQLWrapper, sql } from 'drizzle-orm'
import { joinAnd } from '../conditions.ts'
import type { Dialect, ServedResource } from '../database.ts'
import { FOLD_VERSION, fold } from '../fold.ts'
import type { DerivedPart } from '../migrations.ts'
import { describeColumns } from '../schema-parts.ts'
import { nameSearchTable, reindex } from '../search.ts'
import { quoteName } from '../statement.ts'

/** Two characters appended to every text. A term of one or two characters has no trigram, but with the padding it is the prefix of one. */
const PADDING = 'char(31, 31)'

export function buildSearchIndex(served: ServedResource, dialect: Dialect): DerivedPart {
  const table = nameSearchTable(served.table)
  const [index, padded, postings] = [`${table}_fts`, `${table}_padded`, `${table}_postings`]
  const names = served.foldedFields.map(quoteName)
  const fields = names.join(', ')
  const padding = (row: string) => names.map((field) => `${row}${field} || ${PADDING}`).join(', ')
  const unindex = `insert into ${index} (${index}, rowid, ${fields}) values ('delete', old.id, ${padding('old.')});`
  const add = `insert into ${index} (rowid, ${fields}) values (new.id, ${padding('new.')});`
  return {
    name: table,
    version: FOLD_VERSION,
    isLostInRebuild: false,
    needs: [...describeColumns(table, ['id', ...served.foldedFields]), ...describeColumns(index, served.foldedFields), `table ${postings}`],
    statements: [
      `drop table if exists ${postings}`,
      `drop table if exists ${index}`,
      `drop view if exists ${padded}`,
      `drop table if exists ${table}`,
      `create table ${table} (id integer primary key, ${names.map((field) => `${field} text`).join(', ')})`,
      ...served.prefixedFields.map((field) => `create index ${table}_by_${field} on ${table} (${quoteName(field)})`),
      `create view ${padded} as select id, ${names.map((field) => `${field} || ${PADDING} as ${field}`).join(', ')} from ${table}`,
      `create virtual table ${index} using fts5(${fields}, content='${padded}', content_rowid='id', tokenize='trigram case_sensitive 1')`,
      `create virtual table ${postings} using fts5vocab(${index}, instance)`,
      `create trigger ${table}_inserted after insert on ${table} begin ${add} end`,
      `create trigger ${table}_deleted after delete on ${table} begin ${unindex} end`,
      `create trigger ${table}_updated after update on ${table} begin ${unindex} ${add} end`,
    ],
    fill: (tx) => reindex((work) => work(tx), dialect, served),
  }
}

/** Characters that the index cannot find: the padding, and those that FTS5 confuses with each other. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the padding is one
const UNINDEXED = /[\u001f\ufffd-\uffff]/

/** Characters of a trigram. */
const GRAM = 3
/** Maximum number of trigrams of a term to look up. A longer phrase would be compared at every place of every text that has them. */
const MAX_TRIGRAMS = 8

/** Maximum number of trigrams of all terms. Nothing can stop the reading of their posting lists, some 5 ms each for 1,000,000 rows. */
const MAX_GRAMS = 12

/** The way to find a term: `phrase` by all its trigrams, `trigrams` by some of them, `short` as the prefix of one, `rows` by a test of each row. */
type SearchWay = 'phrase' | 'trigrams' | 'short' | 'rows'

function chooseWay(term: string): SearchWay {
  if (UNINDEXED.test(term)) return 'rows'
  const { length } = [...term]
  if (length < GRAM) return 'short'
  return length < GRAM + MAX_TRIGRAMS ? 'phrase' : 'trigrams'
}

/** Chooses the ways of several terms. Terms with the most trigrams use the index and leave few rows, which are tested for the others. */
function chooseWays(terms: readonly string[]): SearchWay[] {
  const ways = terms.map(chooseWay)
  const cost = (index: number) => Math.min([...(terms[index] ?? '')].length - GRAM + 1, MAX_TRIGRAMS)
  const withTrigrams = [...ways.keys()]
    .filter((index) => ways[index] === 'phrase' || ways[index] === 'trigrams')
    .sort((a, b) => cost(b) - cost(a))
  let trigrams = 0
  for (const index of withTrigrams) {
    if (trigrams > 0 && trigrams + cost(index) > MAX_GRAMS) ways[index] = 'rows'
    else trigrams += cost(index)
  }
  return ways
}

export const contains: Dialect['contains'] = (table, id, fields, terms, all = false) => {
  const folded = terms.map(fold)
  const ways = chooseWays(folded)
  const columns = fields.map((field) => sql.identifier(field))
  /** Builds the condition that the text of row `id` contains the terms that `isFound` leaves out. The index has found the others. */
  const buildTest = (id: SQLWrapper, values: SQL[], isFound: (way: SearchWay, index: number) => boolean) => {
    const inText = values
      .slice(0, folded.length)
      .filter((_, index) => !isFound(ways[index] as SearchWay, index))
      .map(
        (term) =>
          sql`(${sql.join(
            columns.map((column) => sql`instr(texts.${column}, ${term}) > 0`),
            sql` or `,
          )})`,
      )
    return inText.length === 0
      ? undefined
      : sql`exists (select 1 from ${sql.identifier(nameSearchTable(table))} texts where texts.id = ${id} and ${joinAnd(inText)})`
  }
  const clause = { variant: ways.join(), check: (...values: SQL[]) => buildTest(id, values, () => false) ?? sql`true` }

  const grams = folded.flatMap((term, index) =>
    ways[index] === 'phrase' ? [term] : ways[index] === 'trigrams' ? sampleTrigrams(term) : [],
  )
  if (grams.length > 0) {
    const index = sql.identifier(`${nameSearchTable(table)}_fts`)
    return {
      ...clause,
      // Filtering by field takes time, so it is left out if all fields are searched.
      values: [...folded, `${all ? '' : `{${fields.map(quotePhrase).join(' ')}} : `}(${grams.map(quotePhrase).join(' AND ')})`],
      isOrderedById: true,
      postings: grams.reduce((sum, gram) => sum + [...gram].length - GRAM + 1, 0),
      selectIds: (guard, ...values) =>
        sql`select ${index}.rowid as id from ${index} where ${index} match ${values[folded.length]} and ${joinAnd([guard(sql`${index}.rowid`), ...toList(buildTest(sql`${index}.rowid`, values, (way) => way === 'phrase'))])}`,
    }
  }
  const short = ways.indexOf('short')
  const term = folded[short]
  if (term === undefined) return { ...clause, values: folded, isUnindexed: true }
  const inFields = sql.raw(fields.map((field) => `'${field}'`).join(', '))
  return {
    ...clause,
    values: [...folded, `${term}\u{10ffff}\u{10ffff}`],
    selectIds: (guard, ...values) =>
      sql`select distinct doc as id from ${sql.identifier(`${nameSearchTable(table)}_postings`)} where term >= ${values[short]} and term <= ${values[folded.length]}
        and col in (${inFields}) and ${joinAnd([guard(sql`doc`), ...toList(buildTest(sql`doc`, values, (_, index) => index === short))])}`,
  }
}

const toList = (condition: SQL | undefined) => (condition ? [condition] : [])
const quotePhrase = (text: string) => `"${text.replaceAll('"', '""')}"`

/** Samples trigrams evenly from a term. The caller must test that a text contains the whole term. */
function sampleTrigrams(term: string): string[] {
  const characters = [...term]
  const places = Array.from({ length: MAX_TRIGRAMS }, (_, part) => Math.floor((part * (characters.length - GRAM)) / (MAX_TRIGRAMS - 1)))
  return [...new Set(places.map((place) => characters.slice(place, place + GRAM).join('')))]
}
