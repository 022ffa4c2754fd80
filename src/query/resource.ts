// Declarations of resources, and their compilation.
import { type TObject, type TSchema, Type } from '@sinclair/typebox'
import type { ServedResource } from '../../drizzle/database.ts'
import { MAX_PREFIXED_LENGTH, SEARCH_COLUMNS } from '../../drizzle/search.ts'
import type { ServedName, Tables } from '../../drizzle/tables.ts'
import type { Access } from '../roles.ts'
import { refuseNames } from './field-checks.ts'
import { type Field, type Kind, meta, stamps } from './fields.ts'
import { findLookup, type LookupFor, lookups } from './lookups.ts'
import { compileParameters, type ListParameters } from './params.ts'

type TableRow<T extends ServedName> = Tables[T]['$inferSelect']
type Contract = Record<string, Field>
/** The fields that every resource has. */
type Stamped = Record<'id' | keyof typeof stamps, Field>
const STAMPED = ['id', ...Object.keys(stamps)]
type CanBeNull<T> = null extends T ? true : false
/** `unknown` if a column of type `C` can hold a field of type `F`, with the same nullability; `never` otherwise. A text column can hold a choice. */
type Fits<F, C> = CanBeNull<F> extends CanBeNull<C> ? ([NonNullable<F>] extends [NonNullable<C>] ? unknown : never) : never
type FieldKind<F> = F extends Field<infer K, unknown> ? K : never
type FieldName<C, K extends Kind> = { [F in keyof C & string]: FieldKind<C[F]> extends K ? F : never }[keyof C & string]

/** Declaration of a table as a resource. */
export interface Declaration<T extends ServedName, C extends Contract & Stamped, O extends keyof C & string> {
  /** Name of the table. It is also the name of the resource in URLs and in the OpenAPI document. */
  table: T
  /** Name of one record: `product`. */
  singular: string
  /** Access for reading and for writing. The default is `read` and `write`. */
  access?: Resource['access']
  /** The fields of records and bodies. Each is a column of the table with the same type of value. */
  contract: C & { [F in keyof C]: F extends keyof TableRow<T> ? Fits<C[F]['static'], TableRow<T>[F]> : never }
  /** The lookups of each field that lists can filter by. */
  filter: { [F in keyof C & string]?: readonly LookupFor<FieldKind<C[F]>>[] }
  /** The fields that `search` covers. */
  search: readonly FieldName<C, 'text'>[]
  order: readonly O[]
  defaultOrder: NoInfer<O> | `-${NoInfer<O>}`
  /** Sets of fields that must be unique together. NULL equals NULL only in a set of several fields. */
  unique?: readonly (readonly (keyof C & string)[])[]
  /** A unique field that the service derives from another: its words in lower case, joined by `-`. */
  slug?: { field: FieldName<C, 'text'>; from: FieldName<C, 'text'> }
}

/** Fields that the service sets on every record. */
export const STAMPS = ['created_at', 'updated_at', 'version']

/** Members of a body that matches a schema of the resource. */
export type Body = Record<string, unknown>

export interface Resource {
  table: ServedName
  singular: string
  access: { read: Access; write: Access }
  contract: Contract
  list: ListParameters
  search: readonly string[]
  /** The fields that a body can set, with their defaults. A field without a default is required. */
  writable: ReadonlyMap<string, { default?: unknown }>
  unique: readonly (readonly string[])[]
  /** JSON fields that PATCH merges member by member, with the schemas of their whole values. */
  mergeableFields: ReadonlyMap<string, TSchema>
  slug?: { field: string; from: string }
  /** The fields that refer to rows of a table, which can be the table of the resource. */
  references: readonly { field: string; target: ServedName }[]
  served: ServedResource
  schemas: { record: TObject; create: TObject; merge: TObject }
}

const WHOLE_TEXT_LOOKUPS = Object.keys(lookups).filter((name) => findLookup(name)?.foldedIndex === 'whole')

/** Compiles a declaration. Throws a TypeError for a contradiction that its types cannot catch. */
export function defineResource<T extends ServedName, const C extends Contract & Stamped, const O extends keyof C & string>(
  declaration: Declaration<T, C, O>,
): Resource {
  const { table, singular, access = { read: 'read', write: 'write' }, search, unique = [], slug } = declaration
  const contract: Contract = declaration.contract
  const unstamped = STAMPED.filter((field) => !(field in contract))
  if (unstamped.length > 0)
    throw new TypeError(`${table} lacks ${unstamped.join(', ')} in its contract: start it with id: id(), and end it with ...stamps`)
  refuseNames(table, singular, Object.keys(contract))
  const entries = Object.entries(contract)
  const writable = entries.filter(([, schema]) => !schema.readOnly)
  const listIndexes = (field: string) =>
    ((declaration.filter as Record<string, readonly string[] | undefined>)[field] ?? []).map((name) => findLookup(name)?.foldedIndex)
  const folded = entries
    .map(([name]) => name)
    .filter((name) => search.some((field) => field === name) || listIndexes(name).some((index) => index !== undefined))
  const misnamed = folded.find((name) => SEARCH_COLUMNS.includes(name))
  if (misnamed)
    throw new TypeError(`${table}.${misnamed} cannot be searched: the search tables have a column with this name. Rename the field`)
  const prefixed = folded.filter((name) => listIndexes(name).includes('whole'))
  const tooLong = prefixed.find((name) => contract[name]?.maxLength > MAX_PREFIXED_LENGTH)
  if (tooLong)
    throw new TypeError(`${table}.${tooLong} can be longer than ${MAX_PREFIXED_LENGTH}: it cannot have ${WHOLE_TEXT_LOOKUPS.join(' or ')}`)

  const resource: Resource = {
    table,
    singular,
    access,
    contract,
    search,
    unique,
    mergeableFields: new Map(writable.filter(([, schema]) => isMergeable(schema)).map(([field, schema]) => [field, schema[meta].input])),
    ...(slug && { slug }),
    list: compileParameters({ ...declaration, contract, filter: declaration.filter }),
    writable: new Map(writable.map(([name, schema]) => [name, 'default' in schema ? { default: schema.default } : {}])),
    references: entries.flatMap(([field, schema]) => (schema[meta].target ? [{ field, target: schema[meta].target }] : [])),
    served: { table, foldedFields: folded, prefixedFields: prefixed },
    schemas: buildSchemas(capitalise(singular), contract),
  }
  definedResources.add(resource)
  return resource
}

const definedResources = new WeakSet<object>()

/** Whether `defineResource` returned the value. */
export const isResource = (value: unknown): value is Resource => typeof value === 'object' && value !== null && definedResources.has(value)

/** Builds the schemas of records and bodies. Bodies can contain read-only fields, because clients send back what they read. */
function buildSchemas(name: string, contract: Contract): Resource['schemas'] {
  const input = Object.fromEntries(
    Object.entries(contract).map(([field, schema]) => [field, schema.readOnly ? buildIgnoredMember(schema) : schema[meta].input]),
  )
  const create = Object.fromEntries(
    Object.entries(input).map(([field, schema]) => [field, schema.readOnly || 'default' in schema ? Type.Optional(schema) : schema]),
  )
  const merge = Object.fromEntries(
    Object.entries(input).map(([field, { default: _, ...schema }]) => [
      field,
      Type.Optional(isMergeable(contract[field]) && !schema.readOnly ? buildMergePatch(schema as TSchema) : (schema as TSchema)),
    ]),
  )
  return {
    record: Type.Object(contract, { $id: name, additionalProperties: false }),
    create: Type.Object(create, { $id: `${name}Input`, additionalProperties: false }),
    merge: Type.Object(merge, { $id: `${name}Patch`, additionalProperties: false }),
  }
}

/** Whether PATCH merges the field member by member. A value that cannot be an object is replaced as a whole. */
const isMergeable = (schema: Field | undefined): boolean =>
  schema?.[meta].kind === 'json' && (schema.type === undefined || [schema.type].flat().includes('object'))

/** Builds the schema of a merge patch. It requires nothing, since only the merged value must match the schema of the field. */
const buildMergePatch = ({ type, description, examples, 'x-nesting': levels }: TSchema): TSchema =>
  Type.Unsafe({
    ...(type !== undefined && { type }),
    description: `${description ? `${description}. ` : ''}Merged member by member (RFC 7396): null removes a member, an array is replaced`,
    ...(examples && { examples }),
    'x-nesting': levels,
  })

/** Finds the first field that is unique by itself. Bulk requests upsert by it. */
export const findUpsertKey = ({ unique }: Pick<Resource, 'unique'>): string | undefined => unique.find((fields) => fields.length === 1)?.[0]

const buildIgnoredMember = ({ description }: TSchema) =>
  Type.Unsafe({ readOnly: true, description: `${description ?? 'Read-only'}. Ignored in bodies` })

const capitalise = (word: string) => word.charAt(0).toUpperCase() + word.slice(1)
