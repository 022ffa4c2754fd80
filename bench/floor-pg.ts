// A child process: a hand-written server for just the measured requests, on PostgreSQL.
import pg from 'pg'
import { fold } from '../drizzle/fold.ts'
import { readInput } from './child.ts'
import {
  COLUMNS,
  Counts,
  createFloorApp,
  createSchema,
  formatPrice,
  isPastEnd,
  type ListKind,
  type ListQuery,
  listSchema,
  normaliseBody,
  PAGE_SIZE,
  type ProductBody,
  parseCents,
  parseKind,
  recordSchema,
  refuse,
  roundUpToCents,
  send,
  sendCreated,
  sendPage,
  validatorCompiler,
} from './floor.ts'
import { serve } from './serve.ts'

/** Connections of both pools, as many as the application has (drizzle/pg/open.ts). */
const READERS = 6
const WRITERS = 4

/** Milliseconds between two polls for writes by others. */
const POLL = 1_000

/** A row in the order of `COLUMNS`. */
type Row = [number, string | null, string, string, number, number, string, number | null, string, string, number]

/** OID of `bigint`, which pg returns as text since it can exceed a number. The values here never do. */
const BIGINT = 20
const getTypeParser = (type: number) => (type === BIGINT ? Number : (text: string) => text)

const pool = (max: number) =>
  new pg.Pool({
    connectionString: readInput<{ url: string }>().url,
    max,
    options: '-c timezone=UTC -c datestyle=ISO',
    types: { getTypeParser: getTypeParser as typeof pg.types.getTypeParser },
  })
const readers = pool(READERS)
const writers = pool(WRITERS)

/** Runs a named statement, which PostgreSQL parses once per connection. Returns rows as arrays. */
async function query<R extends unknown[]>(from: pg.Pool, name: string, text: string, values: unknown[]): Promise<R[]> {
  return (await from.query<R>({ name, text, values, rowMode: 'array' })).rows
}

const MATCHES = 'select id from products_search where sku like $1 or name like $1 or description like $1 or brand like $1'
const PRODUCT_COLUMNS = COLUMNS.replaceAll(/\w+/g, 'p.$&')

interface List {
  /** Statement for the first page, if it differs. */
  first?: string
  page: string
  count: string
  /** Builds the parameters of both statements, without the offset of a page. */
  buildValues(query: ListQuery): unknown[]
}

const lists: Record<ListKind, List> = {
  all: {
    first: `select ${COLUMNS} from products order by id limit ${PAGE_SIZE} offset $1`,
    // Ids come from their index alone, so the rows before a deep page are never read.
    page: `select ${PRODUCT_COLUMNS} from (select id from products order by id limit ${PAGE_SIZE} offset $1) ids join products p using (id) order by id`,
    count: "select sum(row_count)::bigint from stockroom_counters where name = 'products'",
    buildValues: () => [],
  },
  // A scan of the price index until the page is full: one product in ten has so little stock.
  dearest: {
    page: `select ${COLUMNS} from products where price >= $1 and stock <= $2 order by price desc, id desc limit ${PAGE_SIZE} offset $3`,
    count: 'select count(*) from products where price >= $1 and stock <= $2',
    buildValues: ({ price__gte = 0, stock__lte = 0 }: ListQuery): unknown[] => [roundUpToCents(price__gte), stock__lte],
  },
  found: {
    page: `select ${PRODUCT_COLUMNS} from (${MATCHES} order by id limit ${PAGE_SIZE} offset $2) ids join products p using (id) order by id`,
    count: `select count(*) from (${MATCHES}) ids`,
    buildValues: ({ search = '' }: ListQuery): unknown[] => [`%${fold(search).replaceAll(/[\\%_]/g, '\\$&')}%`],
  },
}

/** Formats `2026-01-31 12:00:00.5+00` as `2026-01-31T12:00:00.500Z`. The year must have four digits and the zone must be UTC. */
const formatTime = (text: string) => `${text.slice(0, 10)}T${text.slice(11, 19)}.${text.slice(20, -3).padEnd(3, '0')}Z`

const toRecord = ([id, sku, name, description, price, stock, brand, category, created_at, updated_at, version]: Row) => ({
  id,
  sku,
  name,
  description,
  price: formatPrice(price),
  stock,
  brand,
  category,
  created_at: formatTime(created_at),
  updated_at: formatTime(updated_at),
  version,
})

const counts = new Counts()

async function countRows(kind: ListKind, values: unknown[]): Promise<number> {
  const key = `${kind} ${values.join(' ')}`
  return counts.get(key) ?? counts.set(key, (await query<[number]>(readers, `count ${kind}`, lists[kind].count, values))[0]?.[0] ?? 0)
}

/** Table version at the last poll. PostgreSQL does not report writes by other processes. */
let lastVersion = 0
const poll = setInterval(async () => {
  const [[version = 0] = []] = await query<[number]>(
    readers,
    'version',
    "select sum(version)::bigint from stockroom_counters where name = 'products'",
    [],
  )
  if (version !== lastVersion) counts.clear()
  lastVersion = version
}, POLL)

const app = createFloorApp()

app.get<{ Querystring: ListQuery }>('/api/products/', { schema: listSchema }, async (request, reply) => {
  const kind = parseKind(request.query)
  if (kind === undefined) return refuse(reply, 400, 'Unsupported combination of parameters.')
  const { page, buildValues, first = page } = lists[kind]
  const values = buildValues(request.query)
  const count = await countRows(kind, values)
  if (isPastEnd(request.query, count)) return refuse(reply, 404, 'No such page.')
  const [name, text] = request.query.page === 1 ? ['first', first] : ['page', page]
  const rows = await query<Row>(readers, `${name} ${kind}`, text, [...values, (request.query.page - 1) * PAGE_SIZE])
  return sendPage(reply, request.query, count, rows.map(toRecord))
})

app.get<{ Params: { id: number } }>('/api/products/:id/', { schema: recordSchema }, async (request, reply) => {
  const [row] = await query<Row>(readers, 'record', `select ${COLUMNS} from products where id = $1`, [request.params.id])
  return row ? send(reply, toRecord(row)) : refuse(reply, 404, 'No such product.')
})

/** Inserts both rows by one statement: an implicit transaction, one round trip. */
const CREATE = `with product as (
    insert into products (sku, name, description, price, stock, brand, category, created_at, updated_at, version)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $8, 1) returning id
  ), indexed as (
    insert into products_search (id, sku, name, description, brand) select id, $9, $10, $11, $12 from product
  ) select id from product`

const refusals: Record<string, [status: number, message: string]> = {
  23505: [409, 'Another product has this sku.'],
  23503: [400, 'No such category.'],
}

app.post<{ Body: ProductBody }>('/api/products/', { schema: createSchema, validatorCompiler }, async (request, reply) => {
  const cents = parseCents(request.body.price)
  if (cents === undefined) return refuse(reply, 400, 'Invalid price.')
  const { sku, name, description, price, stock, brand, category } = normaliseBody(request.body, cents)
  const now = new Date().toISOString()
  const texts = [sku === null ? null : fold(sku), fold(name), fold(description), fold(brand)]
  try {
    const values = [sku, name, description, price, stock, brand, category, now, ...texts]
    const [[id = 0] = []] = await query<[number]>(writers, 'create', CREATE, values)
    counts.clear()
    const product = {
      id,
      sku,
      name,
      description,
      price: formatPrice(price),
      stock,
      brand,
      category,
      created_at: now,
      updated_at: now,
      version: 1,
    }
    return sendCreated(reply, product)
  } catch (error) {
    const refusal = error instanceof pg.DatabaseError ? refusals[error.code ?? ''] : undefined
    if (!refusal) throw error
    return refuse(reply, ...refusal)
  }
})

app.addHook('onClose', async () => {
  clearInterval(poll)
  await Promise.all([readers.end(), writers.end()])
})

await serve(app)
