// Shared parts of both hand-written servers: request schemas, checked by Fastify's own Ajv, and responses.
// The servers know three kinds of list, reading a record and creating one. They have no problem documents, request ids or Link
// header, so they are a little faster than a complete service could be.
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
    // The only filter with a statement.
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

/** Lists with a statement. */
export type ListKind = 'all' | 'dearest' | 'found'

export function parseKind({ search, price__gte, ordering }: ListQuery): ListKind | undefined {
  if (search === undefined && price__gte === undefined) return ordering === 'id' ? 'all' : undefined
  if (search === undefined) return ordering === '-price' ? 'dearest' : undefined
  return price__gte === undefined && ordering === 'id' ? 'found' : undefined
}

/** Rounds a price up to whole cents. */
export const roundUpToCents = (price: number) => Math.ceil(Math.round(price * 1e6) / 1e4)

/** A text without NUL and without lone surrogates. */
const text = (maxLength: number) => ({ maxLength, pattern: '^[^\\u0000\\ud800-\\udfff]*$' })
const notBlankText = (maxLength: number) => ({ ...text(maxLength), allOf: [{ pattern: '\\S' }] })

export const createSchema = {
  body: {
    type: 'object',
    additionalProperties: false,
    required: ['name', 'price'],
    properties: {
      sku: { type: ['string', 'null'], ...notBlankText(64) },
      name: { type: 'string', ...notBlankText(255) },
      description: { type: 'string', ...text(10_000) },
      price: { type: ['string', 'number'], pattern: '^\\s*\\d{1,8}(\\.\\d{1,2})?\\s*$' },
      stock: { type: 'integer', minimum: 0, maximum: 2_147_483_647 },
      brand: { type: 'string', ...text(255) },
      category: { type: ['integer', 'null'], minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
      // Read-only members: clients send back what they have read.
      id: {},
      created_at: {},
      updated_at: {},
      version: {},
    },
  },
}

const bodies = new Ajv({ allowUnionTypes: true })

export const createFloorApp = () => Fastify({ logger: { level: 'silent' }, ajv: { customOptions: { removeAdditional: false } } })

/** Validates bodies without coercion: Fastify's own compiler would turn texts into numbers. */
export const validatorCompiler = ({ schema }: { schema: object }) => bodies.compile(schema)

export const COLUMNS = 'id, sku, name, description, price, stock, brand, category, created_at, updated_at, version'

/** Parses a price that passed the schema to cents. Returns undefined for a number that is no price. */
export function parseCents(price: string | number): number | undefined {
  const [, whole = '', decimals = ''] = /^\s*(\d{1,8})(?:\.(\d{1,2}))?\s*$/.exec(String(price)) ?? []
  return whole === '' ? undefined : Number(whole) * 100 + Number(decimals.padEnd(2, '0'))
}

export function formatPrice(cents: number): string {
  const digits = String(cents)
  return cents >= 100 ? `${digits.slice(0, -2)}.${digits.slice(-2)}` : `0.${digits.padStart(2, '0')}`
}

/** Trims the texts of a body, and fills in defaults. */
export const normaliseBody = ({ sku, name, description = '', stock = 0, brand = '', category = null }: ProductBody, price: number) => ({
  sku: sku?.trim() ?? null,
  name: name.trim(),
  description: description.trim(),
  price,
  stock,
  brand: brand.trim(),
  category,
})

function buildLink(host: string, { ordering, price__gte, search, stock__lte }: ListQuery, page: number): string {
  let query = ''
  if (ordering !== 'id') query += `&ordering=${ordering}`
  if (page > 1) query += `&page=${page}`
  if (price__gte !== undefined) query += `&price__gte=${price__gte}`
  if (search !== undefined) query += `&search=${encodeURIComponent(search)}`
  if (stock__lte !== undefined) query += `&stock__lte=${stock__lte}`
  return query === '' ? `http://${host}/api/products/` : `http://${host}/api/products/?${query.slice(1)}`
}

const JSON_TYPE = 'application/json; charset=utf-8'

/** Serialises a body and sends it. Fastify would do the same a little later. */
export const send = (reply: FastifyReply, body: object) => reply.type(JSON_TYPE).send(JSON.stringify(body))

export function sendPage(reply: FastifyReply, query: ListQuery, count: number, results: object[]): FastifyReply {
  const { host } = reply.request
  const { page } = query
  const next = page * PAGE_SIZE < count ? buildLink(host, query, page + 1) : null
  const previous = page > 1 ? buildLink(host, query, page - 1) : null
  return send(reply, { count, next, previous, results })
}

export const isPastEnd = ({ page }: ListQuery, count: number) => page > 1 && (page - 1) * PAGE_SIZE >= count

export const refuse = (reply: FastifyReply, status: number, message: string) => send(reply.code(status), { message })

export const sendCreated = (reply: FastifyReply, record: { id: number }) =>
  send(reply.code(201).header('location', `http://${reply.request.host}/api/products/${record.id}/`), record)

/** A cache of counts, valid until the next write. */
export class Counts {
  readonly #counts = new Map<string, number>()

  get(query: string): number | undefined {
    return this.#counts.get(query)
  }

  set(query: string, count: number): number {
    // Every search term adds an entry.
    if (this.#counts.size >= 10_000) this.#counts.clear()
    this.#counts.set(query, count)
    return count
  }

  clear(): void {
    this.#counts.clear()
  }
}
