// A child process: the measured requests on SQLite as they would be written by hand for these and nothing else.
import Driver from 'better-sqlite3'
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

/** As `COLUMNS` has them. */
type Row = [number, string | null, string, string, number, number, string, number | null, number, number, number]

const path = inputOf<{ url: string }>().url.slice('file:'.length)
const writer = new Driver(path)
writer.pragma('journal_mode = wal')
writer.pragma('synchronous = full')
writer.pragma('foreign_keys = on')
const reader = new Driver(path, { readonly: true })

const rows = (sql: string) => reader.prepare<unknown[], Row>(sql).raw()
const value = (sql: string) => reader.prepare<unknown[], number>(sql).pluck()

/** The page and the count of each kind of list, with what is bound to both. */
const lists = {
  // The table itself is in the order of the ids.
  all: {
    page: rows(`select ${COLUMNS} from products order by id limit ${PAGE_SIZE} offset ?`),
    count: value("select row_count from stockroom_counters where name = 'products'"),
    bound: (_query: ListQuery): unknown[] => [],
  },
  // Along the index of the price, until a page is full: one in ten has so little stock.
  dearest: {
    page: rows(`select ${COLUMNS} from products where price >= ? and stock <= ? order by price desc, id desc limit ${PAGE_SIZE} offset ?`),
    count: value('select count(*) from products where price >= ? and stock <= ?'),
    bound: ({ price__gte = 0, stock__lte = 0 }: ListQuery): unknown[] => [leastCents(price__gte), stock__lte],
  },
  // FTS5 gives its rows by id, so that no more than a page of them is read.
  found: {
    page: rows(
      `select ${COLUMNS.replaceAll(/\w+/g, 'p.$&')} from products_search_fts f join products p on p.id = f.rowid
        where f.products_search_fts match ? order by f.rowid limit ${PAGE_SIZE} offset ?`,
    ),
    count: value('select count(*) from products_search_fts where products_search_fts match ?'),
    bound: ({ search = '' }: ListQuery): unknown[] => [`"${fold(search)}"`],
  },
}

const record = ([id, sku, name, description, price, stock, brand, category, created_at, updated_at, version]: Row) => ({
  id,
  sku,
  name,
  description,
  price: priceOf(price),
  stock,
  brand,
  category,
  created_at: new Date(created_at).toISOString(),
  updated_at: new Date(updated_at).toISOString(),
  version,
})

const counts = new Counts()
const dataVersion = value('pragma data_version')
let seen = dataVersion.get()

function countOf(kind: ListKind, bound: unknown[]): number {
  // Changes when another connection has written: our own writer, or another process.
  const version = dataVersion.get()
  if (version !== seen) counts.forget()
  seen = version
  const key = `${kind} ${bound.join(' ')}`
  return counts.get(key) ?? counts.set(key, lists[kind].count.get(...bound) ?? 0)
}

const app = floorApp()

app.get<{ Querystring: ListQuery }>('/api/products/', { schema: listSchema }, (request, reply) => {
  const { query } = request
  const kind = kindOf(query)
  if (kind === undefined) return refuse(reply, 400, 'this order is not known here')
  const { page, bound } = lists[kind]
  const values = bound(query)
  const count = countOf(kind, values)
  if (isPastEnd(query, count)) return refuse(reply, 404, 'there is no such page')
  return sendPage(reply, query, count, page.all(...values, (query.page - 1) * PAGE_SIZE).map(record))
})

const byId = rows(`select ${COLUMNS} from products where id = ?`)

app.get<{ Params: { id: number } }>('/api/products/:id/', { schema: recordSchema }, (request, reply) => {
  const row = byId.get(request.params.id)
  return row ? send(reply, record(row)) : refuse(reply, 404, 'there is no such product')
})

const begin = writer.prepare('begin immediate')
const commit = writer.prepare('commit')
const rollback = writer.prepare('rollback')
const insert = writer.prepare(
  `insert into products (sku, name, description, price, stock, brand, category, created_at, updated_at, version) values (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)`,
)
const index = writer.prepare('insert into products_search (id, sku, name, description, brand) values (?, ?, ?, ?, ?)')

const refusals: Record<string, [status: number, message: string]> = {
  SQLITE_CONSTRAINT_UNIQUE: [409, 'another product has this sku'],
  SQLITE_CONSTRAINT_FOREIGNKEY: [400, 'there is no such category'],
}

app.post<{ Body: ProductBody }>('/api/products/', { schema: createSchema, validatorCompiler }, (request, reply) => {
  const cents = centsOf(request.body.price)
  if (cents === undefined) return refuse(reply, 400, 'this is no price')
  const { sku, name, description, price, stock, brand, category } = valuesOf(request.body, cents)
  const now = Date.now()
  begin.run()
  try {
    const id = Number(insert.run(sku, name, description, price, stock, brand, category, now, now).lastInsertRowid)
    index.run(id, sku === null ? null : fold(sku), fold(name), fold(description), fold(brand))
    commit.run()
    return sendCreated(reply, record([id, sku, name, description, price, stock, brand, category, now, now, 1]))
  } catch (error) {
    if (writer.inTransaction) rollback.run()
    const refusal = error instanceof Driver.SqliteError ? refusals[error.code] : undefined
    if (!refusal) throw error
    return refuse(reply, ...refusal)
  }
})

app.addHook('onClose', async () => {
  reader.close()
  writer.close()
})

await serve(app)
