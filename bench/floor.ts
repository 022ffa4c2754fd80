// What both hand-written servers share: the requests that they know, checked by Fastify's own Ajv, and the answers' shape.
// They answer three kinds of list, one record and one way to create, and leave out what the contract asks for beside that:
// problem documents, request ids, the Link header. So they are a little better off than a complete service could be.
import { Ajv } from 'ajv'
import Fastify, { type FastifyReply } from 'fastify'

export const PAGE_SIZE = 20

export interface ListQuery {
  search?: string
  price__gte?: number
  stock__lte?: number
  ordering: 'id' | '-price'
  page: number
}

export const listSchema = {
  querystring: {
    type: 'object',
    additionalProperties: false,
    // The one filter that there is a statement for.
    dependencies: { price__gte: ['stock__lte'], stock__lte: ['price__gte'] },
    properties: {
      search: { type: 'string', pattern: '^[^\\s",]{3,255}$' },
      price__gte: { type: 'number' },
      stock__lte: { type: 'integer' },
      ordering: { enum: ['id', '-price'], default: 'id' },
      page: { type: 'integer', minimum: 1, default: 1 },
    },
  },
}

export const recordSchema = {
  params: { type: 'object', properties: { id: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER } } },
}

export interface ProductBody {
  sku?: string | null
  name: string
  description?: string
  price: string | number
  stock?: number
  brand?: string
  category?: number | null
}

/** The lists that there are statements for. */
export type ListKind = 'all' | 'dearest' | 'found'

export function kindOf({ search, price__gte, ordering }: ListQuery): ListKind | undefined {
  if (search === undefined && price__gte === undefined) return ordering === 'id' ? 'all' : undefined
  if (search === undefined) return ordering === '-price' ? 'dearest' : undefined
  return price__gte === undefined && ordering === 'id' ? 'found' : undefined
}

/** The first whole cent that is not below a price with or without a fraction. */
export const leastCents = (price: number) => Math.ceil(Math.round(price * 1e6) / 1e4)

/** No NUL, and no half of a surrogate pair. */
const text = (maxLength: number) => ({ maxLength, pattern: '^[^\\u0000\\ud800-\\udfff]*$' })
const notBlank = (maxLength: number) => ({ ...text(maxLength), allOf: [{ pattern: '\\S' }] })

export const createSchema = {
  body: {
    type: 'object',
    additionalProperties: false,
    required: ['name', 'price'],
    properties: {
      sku: { type: ['string', 'null'], ...notBlank(64) },
      name: { type: 'string', ...notBlank(255) },
      description: { type: 'string', ...text(10_000) },
      price: { type: ['string', 'number'], pattern: '^\\s*\\d{1,8}(\\.\\d{1,2})?\\s*$' },
      stock: { type: 'integer', minimum: 0, maximum: 2_147_483_647 },
      brand: { type: 'string', ...text(255) },
      category: { type: ['integer', 'null'], minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
      // Read-only: clients send back what they read.
      id: {},
      created_at: {},
      updated_at: {},
      version: {},
    },
  },
}

const bodies = new Ajv({ allowUnionTypes: true })

export const floorApp = () => Fastify({ logger: { level: 'silent' }, ajv: { customOptions: { removeAdditional: false } } })

/** Bodies are validated as they are: Fastify's own compiler would make numbers of texts. */
export const validatorCompiler = ({ schema }: { schema: object }) => bodies.compile(schema)

export const COLUMNS = 'id, sku, name, description, price, stock, brand, category, created_at, updated_at, version'

/** Cents of a price that the schema let through, or nothing where it is a number that is no price. */
export function centsOf(price: string | number): number | undefined {
  const [, whole = '', decimals = ''] = /^\s*(\d{1,8})(?:\.(\d{1,2}))?\s*$/.exec(String(price)) ?? []
  return whole === '' ? undefined : Number(whole) * 100 + Number(decimals.padEnd(2, '0'))
}

export function priceOf(cents: number): string {
  const digits = String(cents)
  return cents >= 100 ? `${digits.slice(0, -2)}.${digits.slice(-2)}` : `0.${digits.padStart(2, '0')}`
}

/** The values of a body in one spelling. */
export const valuesOf = ({ sku, name, description = '', stock = 0, brand = '', category = null }: ProductBody, price: number) => ({
  sku: sku?.trim() ?? null,
  name: name.trim(),
  description: description.trim(),
  price,
  stock,
  brand: brand.trim(),
  category,
})

function link(host: string, { ordering, price__gte, search, stock__lte }: ListQuery, page: number): string {
  let query = ''
  if (ordering !== 'id') query += `&ordering=${ordering}`
  if (page > 1) query += `&page=${page}`
  if (price__gte !== undefined) query += `&price__gte=${price__gte}`
  if (search !== undefined) query += `&search=${encodeURIComponent(search)}`
  if (stock__lte !== undefined) query += `&stock__lte=${stock__lte}`
  return query === '' ? `http://${host}/api/products/` : `http://${host}/api/products/?${query.slice(1)}`
}

const JSON_TYPE = 'application/json; charset=utf-8'

/** Serialised here: Fastify would do the same a little later. */
export const send = (reply: FastifyReply, body: object) => reply.type(JSON_TYPE).send(JSON.stringify(body))

export function sendPage(reply: FastifyReply, query: ListQuery, count: number, results: object[]): FastifyReply {
  const { host } = reply.request
  const { page } = query
  const next = page * PAGE_SIZE < count ? link(host, query, page + 1) : null
  const previous = page > 1 ? link(host, query, page - 1) : null
  return send(reply, { count, next, previous, results })
}

export const isPastEnd = ({ page }: ListQuery, count: number) => page > 1 && (page - 1) * PAGE_SIZE >= count

export const refuse = (reply: FastifyReply, status: number, message: string) => send(reply.code(status), { message })

export const sendCreated = (reply: FastifyReply, record: { id: number }) =>
  send(reply.code(201).header('location', `http://${reply.request.host}/api/products/${record.id}/`), record)

/** Counts do not change until somebody writes. */
export class Counts {
  readonly #known = new Map<string, number>()

  get(query: string): number | undefined {
    return this.#known.get(query)
  }

  set(query: string, count: number): number {
    // Every search term is another query.
    if (this.#known.size >= 10_000) this.#known.clear()
    this.#known.set(query, count)
    return count
  }

  forget(): void {
    this.#known.clear()
  }
}
