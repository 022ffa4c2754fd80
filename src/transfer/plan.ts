// The plan of an import, built once per resource: the members of a line and their columns.
import { type TSchema, Type } from '@sinclair/typebox'
import { type SQL, type SQLChunk, sql } from 'drizzle-orm'
import type { ServedName } from '../../drizzle/tables.ts'
import { meta, text } from '../query/fields.ts'
import type { Resource } from '../query/resource.ts'
import { compileBody, type Validator } from '../validate.ts'

/** Most levels of a path. */
const MAX_DEPTH = 20

export interface ImportPlan {
  resource: Resource
  /** Field that identifies a record. Every line has it. */
  key: string
  /** Field that refers to a record of `tree`. A line gives it as a path of names from the root. */
  path: string
  tree: Resource
  /** All writable fields but `path`. A line gives their values as a body does. */
  fields: readonly string[]
  /** Fields that a new record must have. */
  required: readonly string[]
  /** References to other records, by id. */
  references: readonly { field: string; target: ServedName }[]
  /** Unique fields besides the key. The database checks unique sets of several fields. */
  unique: readonly string[]
  /** Checks a line. A field that it omits keeps its value, or gets its default in a new record. */
  validate: Validator
  /** Returns SQL that is true if the line sets the field to null; undefined if the field is not nullable. */
  isNull(field: string): SQL | undefined
  /** Returns the bit mask of the null fields of a line, for `isNull`. */
  nullMask(values: Record<string, unknown>): number
}

export function planImport(resource: Resource, { key, path, tree }: Pick<ImportPlan, 'key' | 'path' | 'tree'>): ImportPlan {
  const fields = [...resource.writable.keys()].filter((field) => field !== path)
  const nullable = fields.filter((field) => field !== key && resource.contract[field]?.[meta].nullable)
  const bit = (field: string) => 2 ** nullable.indexOf(field)
  return {
    resource,
    key,
    path,
    tree,
    fields,
    required: fields.filter((field) => field !== key && !('default' in (resource.writable.get(field) ?? {}))),
    references: resource.references.filter(({ field }) => fields.includes(field)),
    unique: resource.unique
      .filter(({ length }) => length === 1)
      .flat()
      .filter((field) => field !== key && field !== path),
    validate: compileBody(buildLineSchema(resource, key, path, tree)),
    isNull: (field) => (nullable.includes(field) ? sql`(staged.staged_nulls & ${sql.raw(String(bit(field)))}) <> 0` : undefined),
    nullMask: (values) => nullable.reduce((mask, field) => (values[field] === null ? mask + bit(field) : mask), 0),
  }
}

function buildLineSchema(resource: Resource, key: string, path: string, tree: Resource): TSchema {
  const { required: _, properties } = resource.schemas.merge
  return Type.Object(
    {
      ...properties,
      [key]: text({ minLength: 1, maxLength: properties[key]?.maxLength })[meta].input,
      [path]: Type.Optional(
        Type.Array(tree.schemas.create.properties.name as TSchema, { maxItems: MAX_DEPTH, examples: [['Clothing', 'Shirts']] }),
      ),
    },
    { additionalProperties: false },
  )
}

export const joinList = (parts: SQLChunk[]): SQL => sql.join(parts, sql`, `)
export const importTable = ({ resource }: ImportPlan): SQL => sql`${sql.identifier(resource.table)}`
export const stagedValue = (field: string): SQL => sql`staged.${sql.identifier(field)}`
export const currentValue = (plan: ImportPlan, field: string): SQL => sql`${importTable(plan)}.${sql.identifier(field)}`
export const isSameKey = (plan: ImportPlan): SQL => sql`${currentValue(plan, plan.key)} = ${stagedValue(plan.key)}`

/** Builds SQL for the value of an existing record after the import. */
export function nextValue(plan: ImportPlan, field: string): SQL {
  const value = sql`coalesce(${stagedValue(field)}, ${currentValue(plan, field)})`
  const isNull = plan.isNull(field)
  return isNull ? sql`case when ${isNull} then null else ${value} end` : value
}

/** Lines after `after`, up to and including `last`. */
export interface LineRange {
  after: number
  last: number
}

export const isWithin = ({ after, last }: LineRange): SQL => sql`staged.staged_line > ${after} and staged.staged_line <= ${last}`
export const isExistingKey = (plan: ImportPlan): SQL => sql`exists (select 1 from ${importTable(plan)} where ${isSameKey(plan)})`
