// Turns a resource's declaration into the parameters of its list: the filters, and how the rest is searched, ordered and paged.
import { type TObject, Type } from '@sinclair/typebox'
import type { CountMode } from '../../drizzle/selection.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import { describeUnknown } from '../did-you-mean.ts'
import { splitList } from './csv.ts'
import { MAX_CURSOR_LENGTH } from './cursor.ts'
import type { Codec, Field } from './fields.ts'
import { buildFilters, type Filter } from './filters.ts'
import type { LookupName } from './lookups.ts'
import { parameter } from './querystring.ts'
import { MAX_SEARCH_LENGTH, MAX_SEARCH_TERMS, readSearch, type Search } from './search.ts'
import { Unreadable } from './values.ts'

export const DEFAULT_PAGE_SIZE = 20
export const MAX_PAGE_SIZE = 100
/** Filters of one request. */
export const MAX_FILTERS = 20
/** Fields that are ordered by. */
const MAX_ORDERING_TERMS = 5
/** How far a list is counted; the first is the default. */
export const COUNT_MODES = ['bounded', 'exact', 'none'] as const satisfies CountMode[]

/**
 * The parameters that a list has beside its filters, in the order of the OpenAPI document, and the part of the answer that each decides.
 * No field that can be filtered by has one of these names.
 */
export const LIST_PARAMETERS = {
  search: 'matches',
  ordering: 'order',
  page: 'position',
  page_size: 'presentation',
  count: 'presentation',
  cursor: 'position',
} as const satisfies Record<string, 'matches' | 'order' | 'position' | 'presentation'>

type ListParameter = keyof typeof LIST_PARAMETERS

const isListParameter = (name: string): name is ListParameter => Object.hasOwn(LIST_PARAMETERS, name)

/** Whether a parameter decides which records a list has: filters and `search` do. */
export const decidesMatches = (name: string): boolean => !isListParameter(name) || LIST_PARAMETERS[name] === 'matches'

/** What the parameters of a list are made from. */
interface ListDeclaration {
  table: ServedName
  contract: Record<string, Field>
  filter: { [field: string]: readonly LookupName[] | undefined }
  search: readonly string[]
  order: readonly string[]
  defaultOrder: string
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
  cursor?: string
  count?: CountMode
} & { [filter: string]: unknown }

export interface ListParameters {
  filters: ReadonlyMap<string, Filter>
  orderable: readonly string[]
  defaultOrder: readonly OrderTerm[]
  querystring: TObject
}

/** Throws where a declaration contradicts itself in a way that its types cannot see. */
export function compileParameters(declaration: ListDeclaration): ListParameters {
  const { table, contract } = declaration
  const filters = new Map(
    Object.entries(declaration.filter).flatMap(([field, names = []]) => {
      const schema = contract[field]
      if (!schema) throw new TypeError(`${table} has no field ${field} to filter by`)
      return names.flatMap((name) => buildFilters(table, field, schema, name))
    }),
  )
  const ordering = buildOrderingCodec(declaration.order)
  const others = {
    ...(declaration.search.length > 0 && { search: buildSearchParameter(declaration.search) }),
    ordering: buildOrderingParameter(declaration, ordering),
    page: pageParameter,
    page_size: pageSizeParameter,
    cursor: cursorParameter,
    count: countParameter,
  } satisfies Partial<Record<ListParameter, object>>
  const taken = [...filters.keys()].find(isListParameter)
  if (taken) throw new TypeError(`${table}.${taken} cannot have the lookup exact: every list has the parameter ${taken}. Rename the field`)
  const properties = { ...Object.fromEntries([...filters].map(([name, filter]) => [name, filter.parameter])), ...others }
  const optional = Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, Type.Optional(property)]))
  return {
    filters,
    orderable: declaration.order,
    defaultOrder: ordering.read(declaration.defaultOrder),
    // How lists are written in a URL is said once for all parameters: OpenAPI has no place for it inside a schema.
    querystring: Type.Object(optional, { additionalProperties: false, style: 'form', explode: false }),
  }
}

const buildSearchParameter = (fields: readonly string[]) =>
  parameter<Search>(
    {
      type: 'string',
      maxLength: MAX_SEARCH_LENGTH,
      description: `Every term is in one of ${fields.join(', ')}, in any case. Terms are separated by spaces or commas, at most ${MAX_SEARCH_TERMS}; "a phrase" in quotes is one.`,
    },
    { read: readSearch, write: ({ text }) => text },
  )

const buildOrderingParameter = ({ order, defaultOrder }: ListDeclaration, codec: Codec<readonly OrderTerm[]>) =>
  parameter(
    {
      type: 'array',
      items: { type: 'string', enum: order.flatMap((field) => [field, `-${field}`]) },
      maxItems: Math.min(order.length, MAX_ORDERING_TERMS),
      default: [defaultOrder],
      description:
        'Fields to order by, `-` for descending. Records that are equal in all of them are ordered by id, in the direction of the last.',
    },
    codec,
  )

function buildOrderingCodec(order: readonly string[]): Codec<readonly OrderTerm[]> {
  const most = Math.min(order.length, MAX_ORDERING_TERMS)
  const read = (items: readonly string[]) => {
    if (items.length > most) throw new Unreadable(`has ${items.length} fields: at most ${most} are taken`)
    const terms = items.map(parseTerm)
    const unknown = terms.filter(({ field }) => !order.includes(field)).map(({ field }) => describeNotOrderable(field, order))
    const repeated = terms
      .filter(({ field }, index) => terms.findIndex((term) => term.field === field) < index)
      .map(({ field }) => `names ${field} twice`)
    if (unknown.length + repeated.length > 0) throw new Unreadable(...unknown, ...repeated)
    return terms
  }
  return {
    read: (text) => read(splitList(text)),
    // Where nothing is left, the list has its default order.
    readLeniently(text) {
      const known = splitList(text).filter((item) => order.includes(parseTerm(item).field))
      return known.length > 0 ? read(known) : undefined
    },
    write: (terms) => terms.map(({ field, descending }) => `${descending ? '-' : ''}${field}`).join(','),
  }
}

const parseTerm = (item: string): OrderTerm => ({ field: item.replace(/^-/, ''), descending: item.startsWith('-') })

const describeNotOrderable = (field: string, order: readonly string[]) =>
  describeUnknown(`cannot order by ${field.slice(0, 100)}`, field, order)

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
    read: (text) => readPageSize(text, MAX_PAGE_SIZE),
    readLeniently: (text) => Math.min(readPageSize(text, Number.POSITIVE_INFINITY), MAX_PAGE_SIZE),
    write: String,
  },
)

function readPageSize(text: string, max: number): number {
  const size = /^\d+$/.test(text.trim()) ? Number(text) : 0
  if (size < 1 || size > max) throw new Unreadable(`must be a whole number from 1 to ${MAX_PAGE_SIZE}`)
  return size
}

const cursorParameter = parameter<string>(
  {
    type: 'string',
    maxLength: MAX_CURSOR_LENGTH,
    description:
      'Where `page` begins, as `next` and `previous` have it: taken from such a link together with its other parameters, of which only `page_size` and `count` may be changed',
  },
  {
    read(text) {
      if (text.length > MAX_CURSOR_LENGTH) throw new Unreadable(`has more than ${MAX_CURSOR_LENGTH} characters`)
      return text
    },
    write: (text) => text,
  },
)

const countParameter = parameter<CountMode>(
  {
    type: 'string',
    enum: COUNT_MODES,
    default: COUNT_MODES[0],
    description:
      '`bounded`: exact up to a limit of matches and of time, beyond which `count_exact` is false; `exact`: to the end, however long it takes; `none`: `count` is null',
  },
  {
    read(text) {
      const mode = COUNT_MODES.find((known) => known === text.trim())
      if (!mode) throw new Unreadable(describeUnknown('is no way to count', text.trim(), COUNT_MODES))
      return mode
    },
    write: String,
  },
)
