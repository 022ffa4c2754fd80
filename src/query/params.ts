// Compiles the declaration of a resource to the parameters of its list: filters, search, order and pages.
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
/** Fields in one `ordering`. */
const MAX_ORDERING_TERMS = 5
/** Modes of counting the matches of a list. The first is the default. */
export const COUNT_MODES = ['bounded', 'exact', 'none'] as const satisfies CountMode[]

/**
 * Parameters of every list besides its filters, in the order of the OpenAPI document, with the part of the response that each decides.
 * A filter must not have one of these names.
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

/** The parts of a declaration that define the parameters of a list. */
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

/** Parsed query of a list. It also contains the filters, under their own names. */
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

/** Throws a TypeError for a contradiction in the declaration that its types cannot catch. */
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
    // `style` and `explode` apply to every parameter: OpenAPI has no place for them in a schema.
    querystring: Type.Object(optional, { additionalProperties: false, style: 'form', explode: false }),
  }
}

const buildSearchParameter = (fields: readonly string[]) =>
  parameter<Search>(
    {
      type: 'string',
      maxLength: MAX_SEARCH_LENGTH,
      description: `Selects records that contain every term in one of ${fields.join(', ')}, in any case. Separate up to ${MAX_SEARCH_TERMS} terms by spaces or commas; "a phrase" in quotes is one term.`,
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
        'Fields to order by, `-` for descending. Records with equal values are ordered by id, in the direction of the last field.',
    },
    codec,
  )

function buildOrderingCodec(order: readonly string[]): Codec<readonly OrderTerm[]> {
  const most = Math.min(order.length, MAX_ORDERING_TERMS)
  const read = (items: readonly string[]) => {
    if (items.length > most) throw new Unreadable(`has ${items.length} fields: at most ${most} are allowed`)
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
    // Without a known field the list has its default order.
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

/** Largest page number. No table has rows beyond it. */
const MAX_PAGE = Number.MAX_SAFE_INTEGER / MAX_PAGE_SIZE

const pageParameter = parameter<number | 'last'>(
  {
    anyOf: [
      { type: 'integer', minimum: 1 },
      { type: 'string', const: 'last' },
    ],
    default: 1,
    description: 'Number of the page, from 1, or `last`',
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
  { type: 'integer', minimum: 1, maximum: MAX_PAGE_SIZE, default: DEFAULT_PAGE_SIZE, description: 'Records per page' },
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
      'Position of `page`, from a `next` or `previous` link. Send it with the other parameters of that link; only `page_size` and `count` can change.',
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
      '`bounded` counts up to a limit of matches and time; beyond it `count_exact` is false. `exact` counts all matches, however long that takes. `none` does not count: `count` is null.',
  },
  {
    read(text) {
      const mode = COUNT_MODES.find((allowed) => allowed === text.trim())
      if (!mode) throw new Unreadable(describeUnknown('is not a count mode', text.trim(), COUNT_MODES))
      return mode
    },
    write: String,
  },
)
