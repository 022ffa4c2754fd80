// Describes the parts of a schema in the same words for drizzle/tables.ts and for a database, so that the two can be compared.
import { getTableName, type SQL, type Table } from 'drizzle-orm'
import type { Index, Queries, Reference } from './database.ts'

/** Maximum bytes of an index entry. PostgreSQL refuses more than 2,704, which include some of its own. */
export const MAX_INDEX_ENTRY = 2_600

/** The result of `getTableConfig` of both engines. */
interface TableConfig {
  name: string
  columns: readonly { name: string; isUnique: boolean; uniqueName?: string | undefined }[]
  indexes: readonly { config: { name?: string | undefined; unique: boolean; columns: readonly object[]; where?: SQL | undefined } }[]
  foreignKeys: readonly { reference(): { columns: readonly { name: string }[]; foreignTable: Table } }[]
}

/** Reads the indexes of a table, with those of columns declared `.unique()`. `print` formats SQL as text. */
export const readIndexes = ({ columns, indexes }: TableConfig, print: (where: SQL) => string): Index[] => [
  ...columns.flatMap(({ name, isUnique, uniqueName }) =>
    isUnique && uniqueName ? [{ name: uniqueName, unique: true, columns: [name] }] : [],
  ),
  ...indexes.map(({ config: { name = '', unique, columns, where } }) => ({
    name,
    unique,
    columns: columns.map((column) => ('name' in column && typeof column.name === 'string' ? column.name : undefined)),
    ...(where && { where: print(where) }),
  })),
]

/** Reads the foreign keys of a table. */
export const readReferences = ({ foreignKeys }: TableConfig): Reference[] =>
  foreignKeys.map((key) => {
    const { columns, foreignTable } = key.reference()
    return { columns: columns.map(({ name }) => name), target: getTableName(foreignTable) }
  })

/** A table, column, index or reference. */
export interface SchemaPart {
  table: string
  /** Set for a column. */
  column?: string
}

/** Parts by their descriptions, such as `unique index products_sku on products (sku)`. */
type SchemaPartMap = ReadonlyMap<string, SchemaPart>

export interface SchemaParts {
  declaredParts: SchemaPartMap
  /** Reads the descriptions of the parts of a database. */
  read(tx: Queries): Promise<ReadonlySet<string>>
  /** Reads the columns that every insert must set: NOT NULL without a default. */
  readRequired(tx: Queries): Promise<SchemaPartMap>
}

/** Describes columns. */
export const describeColumns = (table: string, columns: readonly string[]): string[] => columns.map((column) => `column ${table}.${column}`)

/** Parses the rows of a query for required columns. */
export const parseRequired = (rows: readonly { table_name: string; column_name: string }[]): SchemaPartMap =>
  new Map(rows.map(({ table_name: table, column_name: column }) => [`column ${table}.${column}`, { table, column }]))

/** Describes all parts that a table declares. `indexes` come from `readIndexes`. The queries in `catalogue.ts` of each engine use the same words. */
export function describeTable(config: TableConfig, indexes: readonly Index[]): [string, SchemaPart][] {
  const { name: table, columns } = config
  return [
    [`table ${table}`, { table }],
    ...columns.map(({ name }): [string, SchemaPart] => [`column ${table}.${name}`, { table, column: name }]),
    ...indexes.map((index): [string, SchemaPart] => [describeIndex(table, index), { table }]),
    ...readReferences(config).map(({ columns, target }): [string, SchemaPart] => [
      `reference ${table}.${columns.join(', ')} to ${target}`,
      { table },
    ]),
  ]
}

const describeIndex = (table: string, { name, unique, columns, where }: Index) =>
  `${where === undefined ? '' : 'partial '}${unique ? 'unique ' : ''}index ${name} on ${table} (${columns.map((column) => column ?? 'expression').join(', ')})`
