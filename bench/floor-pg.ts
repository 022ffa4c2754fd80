// A child process: the measured requests on PostgreSQL as they would be written by hand for these and nothing else.
import pg from 'pg'
import { fold } from '../drizzle/fold.ts'
import { inputOf } from './child.ts'
import {
  COLUMNS,
  Counts,
  centsOf,
  createSchema,
  floorApp,
  isPastEnd,
  kindOf,
  type ListKind,
  type ListQuery,
  leastCents,
  listSchema,
  PAGE_SIZE,
  type ProductBody,
  priceOf,
  recordSchema,
  refuse,
  send,
  sendCreated,
  sendPage,
  validatorCompiler,
  valuesOf,
} from './floor.ts'
import { serve } from './serve.ts'

/** As many connections as the application has, see drizzle/pg/open.ts. */
const READERS = 6
const WRITERS = 4

/** Milliseconds between two looks at what others have written. */
const POLL = 1_000

/** As `COLUMNS` has them. */
type Row = [number, string | null, string, string, number, number, string, number | null, string, string, number]

/** The type of `bigint`, which pg leaves as text because it can be larger than a number; nothing here is. */
const BIGINT = 20
const getTypeParser = (type: number) => (type === BIGINT ? Number : (text: string) => text)

const pool = (max: number) =>
  new pg.Pool({
    connectionString: inputOf<{ url: string }>().url,
    max,
    options: '-c timezone=UTC -c datestyle=ISO',
    types: { getTypeParser: getTypeParser as typeof pg.types.getTypeParser },
  })
const readers = pool(READERS)
const writers = pool(WRITERS)

/** Arrays, because a record is made of them anyway; named, so that PostgreSQL parses each once on each connection. */
async function query<R extends unknown[]>(from: pg.Pool, name: string, text: string, values: unknown[]): Promise<R[]> {
  return (await from.query<R>({ name, text, values, rowMode: 'array' })).rows
}

const MATCHES = 'select id from products_search where sku like $1 or name like $1 or description like $1 or brand like $1'
const OF_PRODUCT = COLUMNS.replaceAll(/\w+/g, 'p.$&')

interface List {
  /** The first page, where it has a statement of its own. */
  first?: string
  page: string
  count: string
  /** What is bound to both, before the offset of a page. */
  bound(query: ListQuery): unknown[]
}

const lists: Record<ListKind, List> = {
  all: {
    first: `select ${COLUMNS} from products order by id limit ${PAGE_SIZE} offset $1`,
    // The ids first, which are read from their index alone: the rows before a deep page are not.
    page: `select ${OF_PRODUCT} from (select id from products order by id limit ${PAGE_SIZE} offset $1) ids join products p using (id) order by id`,
    count: "select sum(row_count)::bigint from stockroom_counters where name = 'products'",
    bound: () => [],
  },
  // Along the index of the price, until a page is full: one in ten has so little stock.
  dearest: {
    page: `select ${COLUMNS} from products where price >= $1 and stock <= $2 order by price desc, id desc limit ${PAGE_SIZE} offset $3`,
    count: 'select count(*) from products where price >= $1 and stock <= $2',
    bound: ({ price__gte = 0, stock__lte = 0 }: ListQuery): unknown[] => [leastCents(price__gte), stock__lte],
  },
  found: {
    page: `select ${OF_PRODUCT} from (${MATCHES} order by id limit ${PAGE_SIZE} offset $2) ids join products p using (id) order by id`,
    count: `select count(*) from (${MATCHES}) ids`,
    bound: ({ search = '' }: ListQuery): unknown[] => [`%${fold(search).replaceAll(/[\\%_]/g, '\\$&')}%`],
  },
}

/** `2026-01-31 12:00:00.5+00` → `2026-01-31T12:00:00.500Z`: the year has four digits and the zone is UTC. */
const timeOf = (text: string) => `${text.slice(0, 10)}T${text.slice(11, 19)}.${text.slice(20, -3).padEnd(3, '0')}Z`

const record = ([id, sku, name, description, price, stock, brand, category, created_at, updated_at, version]: Row) => ({
  id,
  sku,
  name,
  description,
  price: priceOf(price),
  stock,
  brand,
  category,
  created_at: timeOf(created_at),
  updated_at: timeOf(updated_at),
  version,
})

const counts = new Counts()

async function countOf(kind: ListKind, bound: unknown[]): Promise<number> {
  const key = `${kind} ${bound.join(' ')}`
  return counts.get(key) ?? counts.set(key, (await query<[number]>(readers, `count ${kind}`, lists[kind].count, bound))[0]?.[0] ?? 0)
}

/** PostgreSQL tells nobody that another process wrote. */
let seen = 0
const poll = setInterval(async () => {
  const [[version = 0] = []] = await query<[number]>(
    readers,
    'version',
    "select sum(version)::bigint from stockroom_counters where name = 'products'",
    [],
  )
  if (version !== seen) counts.forget()
  seen = version
}, POLL)

const app = floorApp()

app.get<{ Querystring: ListQuery }>('/api/products/', { schema: listSchema }, async (request, reply) => {
  const kind = kindOf(request.query)
  if (kind === undefined) return refuse(reply, 400, 'this order is not known here')
  const { page, bound, first = page } = lists[kind]
  const values = bound(request.query)
  const count = await countOf(kind, values)
  if (isPastEnd(request.query, count)) return refuse(reply, 404, 'there is no such page')
  const [name, text] = request.query.page === 1 ? ['first', first] : ['page', page]
  const rows = await query<Row>(readers, `${name} ${kind}`, text, [...values, (request.query.page - 1) * PAGE_SIZE])
  return sendPage(reply, request.query, count, rows.map(record))
})

app.get<{ Params: { id: number } }>('/api/products/:id/', { schema: recordSchema }, async (request, reply) => {
  const [row] = await query<Row>(readers, 'record', `select ${COLUMNS} from products where id = $1`, [request.params.id])
  return row ? send(reply, record(row)) : refuse(reply, 404, 'there is no such product')
})

/** Both rows by one statement, which is a transaction by itself: one way to the server and back. */
const CREATE = `with made as (
    insert into products (sku, name, description, price, stock, brand, category, created_at, updated_at, version)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $8, 1) returning id
  ), indexed as (
    insert into products_search (id, sku, name, description, brand) select id, $9, $10, $11, $12 from made
  ) select id from made`

const refusals: Record<string, [status: number, message: string]> = {
  23505: [409, 'another product has this sku'],
  23503: [400, 'there is no such category'],
}

app.post<{ Body: ProductBody }>('/api/products/', { schema: createSchema, validatorCompiler }, async (request, reply) => {
  const cents = centsOf(request.body.price)
  if (cents === undefined) return refuse(reply, 400, 'this is no price')
  const { sku, name, description, price, stock, brand, category } = valuesOf(request.body, cents)
  const now = new Date().toISOString()
  const texts = [sku === null ? null : fold(sku), fold(name), fold(description), fold(brand)]
  try {
    const values = [sku, name, description, price, stock, brand, category, now, ...texts]
    const [[id = 0] = []] = await query<[number]>(writers, 'create', CREATE, values)
    counts.forget()
    const made = { id, sku, name, description, price: priceOf(price), stock, brand, category, created_at: now, updated_at: now, version: 1 }
    return sendCreated(reply, made)
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
