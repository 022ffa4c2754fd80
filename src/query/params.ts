// Turns a resource's declaration into the parameters of its list: what each is called, how it is read, what it says in the
// OpenAPI document, and the SQL that it becomes.

import { type TObject, Type } from '@sinclair/typebox'
import { type SQL, sql } from 'drizzle-orm'
import type { Database } from '../../drizzle/database.ts'
import type { Tables } from '../../drizzle/tables.ts'
import { nearest } from '../nearest.ts'
import { type Codec, type Field, flagCodec, type Kind, type Meta, meta } from './fields.ts'
import { joinList, splitList } from './lists.ts'
import { type Lookup, type LookupName, lookups, type Value } from './lookups.ts'
import { type Parameter, parameter } from './querystring.ts'
import { MAX_SEARCH_TERMS, readSearch, type Search } from './search.ts'
import { Unreadable } from './values.ts'

export const DEFAULT_PAGE_SIZE = 20
export const MAX_PAGE_SIZE = 100
/** Values of one list. */
export const MAX_IN_VALUES = 100

/** What the parameters of a list are made from. */
export interface ListDeclaration {
  table: keyof Tables
  contract: Record<string, Field>
  filter: { [field: string]: readonly LookupName[] | undefined }
  search: readonly string[]
  order: readonly string[]
  defaultOrder: string
}

/** A parameter that keeps some of the rows. */
export interface Filter {
  parameter: Parameter<readonly Value[]>
  where(db: Database, values: readonly Value[]): SQL | undefined
}

export interface OrderTerm {
  field: string
  descending: boolean
}

/** The query of a list, as read. The filters stand beside these under their own names. */
export type ListQuery = {
  search?: Search
  ordering?: readonly OrderTerm[]
  page?: number | 'last'
  page_size?: number
} & { [filter: string]: unknown }

export interface ListParameters {
  filters: ReadonlyMap<string, Filter>
  defaultOrder: readonly OrderTerm[]
  querystring: TObject
}

/** Throws where a declaration contradicts itself in a way that its types cannot see. */
export function compileParameters(declaration: ListDeclaration): ListParameters {
  const filters = new Map(
    Object.entries(declaration.filter).flatMap(([field, names = []]) => names.flatMap((name) => filtersOf(declaration, field, name))),
  )
  const ordering = orderingCodec(declaration.order)
  const properties = {
    ...Object.fromEntries([...filters].map(([name, filter]) => [name, filter.parameter])),
    ...(declaration.search.length > 0 && { search: searchParameter(declaration.search) }),
    ordering: orderingParameter(declaration, ordering),
    page: pageParameter,
    page_size: pageSizeParameter,
  }
  const optional = Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, Type.Optional(property)]))
  return {
    filters,
    defaultOrder: ordering.read(declaration.defaultOrder),
    // How lists are written in a URL is said once for all parameters: OpenAPI has no place for it inside a schema.
    querystring: Type.Object(optional, { additionalProperties: false, style: 'form', explode: false }),
  }
}

/** A lookup of a field, and its negation: the rows that the lookup leaves out, those without a value among them. */
function filtersOf({ table, contract }: ListDeclaration, field: string, name: LookupName): [string, Filter][] {
  const schema = contract[field]
  if (!schema) throw new TypeError(`${table} has no field ${field} to filter by`)
  const known = schema[meta]
  const lookup: Lookup = lookups[name]
  if (!lookup.kinds.includes(known.kind)) throw new TypeError(`${table}.${field} is ${known.kind}: it cannot have the lookup ${name}`)
  const parameterName = name === 'exact' ? field : `${field}__${name}`
  const by = valuesCodec(lookup, known)
  const where: Filter['where'] = (db, values) => lookup.where({ db, table, field, meta: known }, values)
  const hint = known.kind === 'time' && lookup.takes !== 'flag' ? ' (RFC 3339, or a date)' : ''
  const documented = (description: string) => parameter({ ...valuesSchema(lookup, known.kind), description: `${description}${hint}` }, by)
  return [
    [parameterName, { parameter: documented(`${field} ${lookup.meaning}`), where }],
    [
      `${parameterName}!`,
      { parameter: documented(`Not: ${field} ${lookup.meaning}`), where: (db, values) => sql`(${where(db, values)}) is not true` },
    ],
  ]
}

/** How one value of a field is written in a URL. A whole number may be compared with a fraction. */
const valueSchemas: Record<Kind, object> = {
  text: { type: 'string' },
  boolean: { type: 'boolean' },
  integer: { type: 'number' },
  reference: { type: 'number' },
  decimal: { type: ['string', 'number'] },
  // No example here: the documentation page would fill it in and send it.
  time: { type: 'string' },
}

const takes: Record<Lookup['takes'], { min: number; max: number }> = {
  value: { min: 1, max: 1 },
  flag: { min: 1, max: 1 },
  pair: { min: 2, max: 2 },
  list: { min: 1, max: MAX_IN_VALUES },
}

function valuesSchema(lookup: Lookup, kind: Kind): object {
  if (lookup.takes === 'flag') return { type: 'boolean' }
  const items = lookup.codec ? valueSchemas.text : valueSchemas[kind]
  const { min, max } = takes[lookup.takes]
  return max === 1 ? items : { type: 'array', items, minItems: min, maxItems: max }
}

function valuesCodec(lookup: Lookup, known: Meta): Codec<readonly Value[]> {
  const one = (lookup.takes === 'flag' ? flagCodec : (lookup.codec ?? known.codec)) as Codec<Value>
  const { min, max } = takes[lookup.takes]
  if (max === 1) return { read: (text) => [one.read(text)], write: ([value]) => one.write(value as Value) }
  return {
    read(text) {
      const items = splitList(text)
      if (items.length < min || items.length > max)
        throw new Unreadable(`has ${items.length} values: it takes ${min === max ? min : `at most ${max}`}`)
      return items.map((item, index) => readItem(one, item, index))
    },
    write: (values) => joinList(values.map(one.write)),
  }
}

function readItem(codec: Codec<Value>, item: string, index: number): Value {
  try {
    return codec.read(item)
  } catch (error) {
    throw error instanceof Unreadable ? new Unreadable(`value ${index + 1} ${error.message}`) : error
  }
}

const searchParameter = (fields: readonly string[]) =>
  parameter<Search>(
    {
      type: 'string',
      description: `Every term is in one of ${fields.join(', ')}, in any case. Terms are separated by spaces or commas, at most ${MAX_SEARCH_TERMS}; "a phrase" in quotes is one.`,
    },
    { read: readSearch, write: ({ text }) => text },
  )

const orderingParameter = ({ order, defaultOrder }: ListDeclaration, codec: Codec<readonly OrderTerm[]>) =>
  parameter(
    {
      type: 'array',
      items: { type: 'string', enum: order.flatMap((field) => [field, `-${field}`]) },
      maxItems: order.length,
      default: [defaultOrder],
      description:
        'Fields to order by, `-` for descending. Records that are equal in all of them are ordered by id, in the direction of the last.',
    },
    codec,
  )

function orderingCodec(order: readonly string[]): Codec<readonly OrderTerm[]> {
  return {
    read(text) {
      const terms = splitList(text).map((item) => ({ field: item.replace(/^-/, ''), descending: item.startsWith('-') }))
      const unknown = terms
        .filter(({ field }) => !order.includes(field))
        .map(({ field }) => ({ ...notOrderable(field, order), allowed: order }))
      const repeated = terms
        .filter(({ field }, index) => terms.findIndex((term) => term.field === field) < index)
        .map(({ field }) => `names ${field} twice`)
      if (unknown.length + repeated.length > 0) throw new Unreadable(...unknown, ...repeated)
      return terms
    },
    write: (terms) => terms.map(({ field, descending }) => `${descending ? '-' : ''}${field}`).join(','),
  }
}

function notOrderable(field: string, order: readonly string[]) {
  const suggestion = nearest(field, order)
  const hint = suggestion ? `; did you mean ${suggestion}?` : ''
  return { detail: `cannot order by ${field.slice(0, 100)}${hint}`, ...(suggestion && { suggestion }) }
}

/** Past this there is no row in any table. */
const MAX_PAGE = Number.MAX_SAFE_INTEGER / MAX_PAGE_SIZE

const pageParameter = parameter<number | 'last'>(
  {
    anyOf: [
      { type: 'integer', minimum: 1 },
      { type: 'string', const: 'last' },
    ],
    default: 1,
    description: 'The page, from 1, or `last`',
  },
  {
    read(text) {
      if (text.trim() === 'last') return 'last'
      if (!/^0*[1-9]\d*$/.test(text.trim())) throw new Unreadable('is not a page: write a number from 1, or last')
      return Math.min(Number(text), MAX_PAGE)
    },
    write: String,
  },
)

const pageSizeParameter = parameter<number>(
  { type: 'integer', minimum: 1, maximum: MAX_PAGE_SIZE, default: DEFAULT_PAGE_SIZE, description: 'Records on a page' },
  {
    read(text) {
      const size = /^\d{1,9}$/.test(text.trim()) ? Number(text) : 0
      if (size < 1 || size > MAX_PAGE_SIZE) throw new Unreadable(`must be a whole number from 1 to ${MAX_PAGE_SIZE}`)
      return size
    },
    write: String,
  },
)
