// Describes the import of a resource: which members a line has, and how they become columns. Compiled once.
import { type TSchema, Type } from '@sinclair/typebox'
import { type SQL, type SQLChunk, sql } from 'drizzle-orm'
import type { ServedName } from '../../drizzle/tables.ts'
import { meta, text } from '../query/fields.ts'
import type { Resource } from '../query/resource.ts'
import { compileBody, type Validator } from '../validate.ts'

/** Levels of a path. */
const MAX_DEPTH = 20

export interface ImportPlan {
  resource: Resource
  /** The field that identifies a record. Every line has it. */
  key: string
  /** The field that names a row of `tree`, which a line gives as the path of names from the root. */
  path: string
  tree: Resource
  /** The other writable fields, the key included. A line gives their values as a body does. */
  fields: readonly string[]
  /** Fields that a new record needs. */
  required: readonly string[]
  /** References to other records, by id. */
  references: readonly { field: string; target: ServedName }[]
  /** Unique fields besides the key. Sets of several are left to the database. */
  unique: readonly string[]
  /** Checks a line. What a line leaves out keeps its value, or has its default in a new record. */
  validate: Validator
  /** SQL that is true where the line says null for the field; undefined where it cannot. */
  isNull(field: string): SQL | undefined
  /** The mask of the fields of a line that are null, for `isNull`. */
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

/** The value of a known record after the import. */
export function nextValue(plan: ImportPlan, field: string): SQL {
  const kept = sql`coalesce(${stagedValue(field)}, ${currentValue(plan, field)})`
  const isNull = plan.isNull(field)
  return isNull ? sql`case when ${isNull} then null else ${kept} end` : kept
}

/** Lines behind `after`, up to `last`. */
export interface LineRange {
  after: number
  last: number
}

export const isWithin = ({ after, last }: LineRange): SQL => sql`staged.staged_line > ${after} and staged.staged_line <= ${last}`
export const isKnown = (plan: ImportPlan): SQL => sql`exists (select 1 from ${importTable(plan)} where ${isSameKey(plan)})`
