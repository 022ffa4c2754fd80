// A child process: a hand-written server for just the measured requests, on SQLite.
import Driver from 'better-sqlite3'
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

/** A row in the order of `COLUMNS`. */
type Row = [number, string | null, string, string, number, number, string, number | null, number, number, number]

const path = readInput<{ url: string }>().url.slice('file:'.length)
const writer = new Driver(path)
writer.pragma('journal_mode = wal')
writer.pragma('synchronous = full')
writer.pragma('foreign_keys = on')
const reader = new Driver(path, { readonly: true })

const rows = (sql: string) => reader.prepare<unknown[], Row>(sql).raw()
const value = (sql: string) => reader.prepare<unknown[], number>(sql).pluck()

/** Statements for the page and the count of each kind of list, with a function that builds their parameters. */
const lists = {
  // The table is stored in the order of ids.
  all: {
    page: rows(`select ${COLUMNS} from products order by id limit ${PAGE_SIZE} offset ?`),
    count: value("select row_count from stockroom_counters where name = 'products'"),
    buildValues: (_query: ListQuery): unknown[] => [],
  },
  // A scan of the price index until the page is full: one product in ten has so little stock.
  dearest: {
    page: rows(`select ${COLUMNS} from products where price >= ? and stock <= ? order by price desc, id desc limit ${PAGE_SIZE} offset ?`),
    count: value('select count(*) from products where price >= ? and stock <= ?'),
    buildValues: ({ price__gte = 0, stock__lte = 0 }: ListQuery): unknown[] => [roundUpToCents(price__gte), stock__lte],
  },
  // FTS5 returns rows by id, so only one page of them is read.
  found: {
    page: rows(
      `select ${COLUMNS.replaceAll(/\w+/g, 'p.$&')} from products_search_fts f join products p on p.id = f.rowid
        where f.products_search_fts match ? order by f.rowid limit ${PAGE_SIZE} offset ?`,
    ),
    count: value('select count(*) from products_search_fts where products_search_fts match ?'),
    buildValues: ({ search = '' }: ListQuery): unknown[] => [`"${fold(search)}"`],
  },
}

const toRecord = ([id, sku, name, description, price, stock, brand, category, created_at, updated_at, version]: Row) => ({
  id,
  sku,
  name,
  description,
  price: formatPrice(price),
  stock,
  brand,
  category,
  created_at: new Date(created_at).toISOString(),
  updated_at: new Date(updated_at).toISOString(),
  version,
})

const counts = new Counts()
const dataVersion = value('pragma data_version')
let lastVersion = dataVersion.get()

function countRows(kind: ListKind, values: unknown[]): number {
  // `data_version` changes when another connection has written: our writer, or another process.
  const version = dataVersion.get()
  if (version !== lastVersion) counts.clear()
  lastVersion = version
  const key = `${kind} ${values.join(' ')}`
  return counts.get(key) ?? counts.set(key, lists[kind].count.get(...values) ?? 0)
}

const app = createFloorApp()

app.get<{ Querystring: ListQuery }>('/api/products/', { schema: listSchema }, (request, reply) => {
  const { query } = request
  const kind = parseKind(query)
  if (kind === undefined) return refuse(reply, 400, 'Unsupported combination of parameters.')
  const { page, buildValues } = lists[kind]
  const values = buildValues(query)
  const count = countRows(kind, values)
  if (isPastEnd(query, count)) return refuse(reply, 404, 'No such page.')
  return sendPage(reply, query, count, page.all(...values, (query.page - 1) * PAGE_SIZE).map(toRecord))
})

const byId = rows(`select ${COLUMNS} from products where id = ?`)

app.get<{ Params: { id: number } }>('/api/products/:id/', { schema: recordSchema }, (request, reply) => {
  const row = byId.get(request.params.id)
  return row ? send(reply, toRecord(row)) : refuse(reply, 404, 'No such product.')
})

const begin = writer.prepare('begin immediate')
const commit = writer.prepare('commit')
const rollback = writer.prepare('rollback')
const insert = writer.prepare(
  `insert into products (sku, name, description, price, stock, brand, category, created_at, updated_at, version) values (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)`,
)
const index = writer.prepare('insert into products_search (id, sku, name, description, brand) values (?, ?, ?, ?, ?)')

const refusals: Record<string, [status: number, message: string]> = {
  SQLITE_CONSTRAINT_UNIQUE: [409, 'Another product has this sku.'],
  SQLITE_CONSTRAINT_FOREIGNKEY: [400, 'No such category.'],
}

app.post<{ Body: ProductBody }>('/api/products/', { schema: createSchema, validatorCompiler }, (request, reply) => {
  const cents = parseCents(request.body.price)
  if (cents === undefined) return refuse(reply, 400, 'Invalid price.')
  const { sku, name, description, price, stock, brand, category } = normaliseBody(request.body, cents)
  const now = Date.now()
  begin.run()
  try {
    const id = Number(insert.run(sku, name, description, price, stock, brand, category, now, now).lastInsertRowid)
    index.run(id, sku === null ? null : fold(sku), fold(name), fold(description), fold(brand))
    commit.run()
    return sendCreated(reply, toRecord([id, sku, name, description, price, stock, brand, category, now, now, 1]))
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
