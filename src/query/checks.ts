// Compares declarations with their tables at the start. A mismatch would cause responses with 500 later, or let invalid rows in.
import { getTableColumns } from 'drizzle-orm'
import { type Column, columnsByName, type Database, type Index, type Reference } from '../../drizzle/database.ts'
import { MAX_INDEX_ENTRY } from '../../drizzle/schema-parts.ts'
import { ASCII } from './field-checks.ts'
import { type Kind, meta } from './fields.ts'
import { findLookup } from './lookups.ts'
import { type Resource, STAMPS } from './resource.ts'

/** SQL types of the columns of each kind, in both databases. */
const SQL_TYPES: Record<Kind, RegExp> = {
  text: /^text/,
  boolean: /^(integer|boolean)$/,
  integer: /^(integer|bigint)$/,
  reference: /^(integer|bigint)$/,
  decimal: /^(integer|bigint)$/,
  time: /^(integer|timestamp)/,
  json: /^text/,
}

/** A resource with the columns and indexes of its table. */
interface ResourceTable {
  resource: Resource
  columns: Record<string, Column>
  indexes: readonly Index[]
}

/** Throws a TypeError that says what to change if a declaration does not match its table. */
export function checkResource(resource: Resource, { tables, dialect }: Database): void {
  const table = tables[resource.table]
  const checked = { resource, columns: columnsByName(table), indexes: dialect.listIndexes(table) }
  checkColumns(checked)
  checkLookups(resource, tables)
  checkIndexes(checked)
  checkSizes(checked)
  checkReferences(checked, dialect.listReferences(table))
  // A resource without writable fields has its own code for writing.
  if (resource.writable.size === 0) return
  checkUnique(checked)
  checkInserted(checked)
}

/** Checks that each field has a column of its kind and scale. */
function checkColumns({ resource: { table, contract }, columns }: ResourceTable): void {
  for (const [field, { [meta]: known }] of Object.entries(contract)) {
    const column = columns[field]
    const name = `${table}.${field}`
    if (!column) throw new TypeError(`${name} has no column`)
    if (!SQL_TYPES[known.kind].test(column.getSQLType()))
      throw new TypeError(`${name} has the kind ${known.kind}, but its column has the type ${column.getSQLType()}`)
    if (known.kind === 'decimal' && Number(column.mapToDriverValue(known.range?.toData(1n))) !== 1)
      throw new TypeError(`${name} does not have the scale of its column`)
  }
}

/** Checks that the table that a field refers to has the columns that the lookups of the field read. */
function checkLookups({ table, contract, list }: Resource, tables: Database['tables']): void {
  for (const name of list.filters.keys()) {
    const [field = '', lookup = 'exact'] = name.replace('!', '').split('__')
    const target = contract[field]?.[meta].target
    const column = findLookup(lookup)?.targetColumn
    if (target && column && !(column in getTableColumns(tables[target])))
      throw new TypeError(`${table}.${field} cannot have the lookup ${lookup}: ${target} has no column ${column}`)
  }
}

/** Checks that each field that lists filter or order by has an index. */
function checkIndexes({ resource, indexes }: ResourceTable): void {
  const { table } = resource
  for (const field of indexedFields(resource)) {
    if (!indexes.some(({ columns, where }) => where === undefined && columns[0] === field))
      throw new TypeError(
        `${table}.${field} can be filtered or ordered by, but no index begins with it: add kit.index('${table}_by_${field}', t.${field}, t.id)`,
      )
  }
}

const BYTES_OF_NUMBER = 8
const MAX_BYTES_OF_CHARACTER = 4

/** Checks that every value that a body can contain fits into the indexes of its column. */
function checkSizes({ resource: { table, contract }, indexes }: ResourceTable): void {
  const bytes = (column = ''): number => {
    const field = contract[column]
    if (!field) return BYTES_OF_NUMBER
    const { enum: words, maxLength, pattern } = field
    if (words) return Math.max(...words.map((word: string | null) => Buffer.byteLength(word ?? '')))
    return maxLength === undefined ? BYTES_OF_NUMBER : maxLength * (pattern === ASCII ? 1 : MAX_BYTES_OF_CHARACTER)
  }
  for (const { name, columns } of indexes) {
    const size = columns.reduce((sum, column) => sum + bytes(column), 0)
    if (size > MAX_INDEX_ENTRY)
      throw new TypeError(
        `${table}: an entry of the index ${name} can have ${size} bytes, but at most ${MAX_INDEX_ENTRY} are allowed: shorten its texts, or remove the index`,
      )
  }
}

/** Checks that each field refers to the same table as its column. */
function checkReferences({ resource: { table, contract } }: ResourceTable, references: readonly Reference[]): void {
  const targets = new Map(references.flatMap(({ columns, target }) => (columns.length === 1 ? [[columns[0], target]] : [])))
  for (const [field, { [meta]: known }] of Object.entries(contract)) {
    const target = targets.get(field)
    if (known.target === target) continue
    const [declared, actual] = [known.target, target].map((name) => (name ? `refers to ${name}` : 'refers to no table'))
    throw new TypeError(
      `${table}.${field} ${declared}, but its column ${actual}: write reference('TABLE') and kit.reference(() => TABLE.id)`,
    )
  }
}

/** Lists the fields that need an index of the table. Folded text has other indexes, and the id is the primary key. */
function indexedFields({ list }: Resource): Set<string> {
  const filtered = [...list.filters.keys()]
    .map((name) => name.replace('!', '').split('__'))
    .filter(([, lookup = 'exact']) => !findLookup(lookup)?.foldedIndex)
  const fields = new Set([...list.orderable, ...filtered.map(([field = '']) => field)])
  fields.delete('id')
  return fields
}

/** Matches `parent is null`, with or without quotes and a table name. */
const IS_NULL = /^(?:\W?\w+\W?\.)?\W?(\w+)\W? is null$/i

const isSameSet = (fields: readonly string[], columns: Index['columns']) =>
  fields.length === columns.length && fields.every((field) => columns.includes(field))

/**
 * Checks that each set of unique fields has a unique index, because concurrent transactions do not see each other's rows. Checks that
 * each unique index is declared, because its conflicts would otherwise cause responses with 500.
 */
function checkUnique({ resource: { table, unique, slug }, columns, indexes }: ResourceTable): void {
  const whole = indexes.filter((index) => index.unique && index.where === undefined)
  const sets = [...unique, ...(slug ? [[slug.field]] : [])]
  for (const fields of sets) {
    const listed = fields.map((field) => `t.${field}`).join(', ')
    if (!whole.some((index) => isSameSet(fields, index.columns)))
      throw new TypeError(
        `${table}: ${fields.join(' and ')} must be unique, but have no unique index: add kit.uniqueIndex('${table}_${fields.join('_')}', ${listed})`,
      )
    if (fields.length > 1) checkNulls(table, fields, { columns, indexes })
  }
  const undeclared = whole.find((index) => !sets.some((fields) => isSameSet(fields, index.columns)))
  if (undeclared)
    throw new TypeError(
      `${table}: the unique index ${undeclared.name} is not declared: add [${undeclared.columns.map((name) => `'${name}'`).join(', ')}] to unique`,
    )
}

/** Checks the NULLs of a unique set. They are equal there but differ in a unique index, so they need a partial index. */
function checkNulls(table: string, fields: readonly string[], { columns, indexes }: Pick<ResourceTable, 'columns' | 'indexes'>): void {
  const [nullable, another] = fields.filter((field) => !columns[field]?.notNull)
  if (another) throw new TypeError(`${table}: ${nullable} and ${another} can be null: only one field of a unique set can be nullable`)
  if (!nullable) return
  const others = fields.filter((field) => field !== nullable)
  const isCovered = indexes.some(
    (index) => index.unique && isSameSet(others, index.columns) && index.where !== undefined && IS_NULL.exec(index.where)?.[1] === nullable,
  )
  if (!isCovered)
    throw new TypeError(
      `${table}: ${fields.join(' and ')} must be unique, but no unique index covers the rows without ${nullable}: add kit.uniqueIndex('${table}_${others.join('_')}_without_${nullable}', ${others.map((field) => `t.${field}`).join(', ')}).where(sql\`${nullable} is null\`)`,
    )
}

/** Checks that a new record has a value for every NOT NULL column. */
function checkInserted({ resource: { table, contract, writable, slug }, columns }: ResourceTable): void {
  for (const [field, column] of Object.entries(columns)) {
    const isSet = writable.has(field) || field === slug?.field || STAMPS.includes(field) || column.primary
    if (isSet || !column.notNull || column.default !== undefined || column.generated || column.generatedIdentity) continue
    const reason = field in contract ? 'bodies cannot set it' : 'the contract does not contain it'
    throw new TypeError(
      `${table}.${field} is NOT NULL without a default, and ${reason}: no record could be created. Give the column a default, or make the field writable`,
    )
  }
}
