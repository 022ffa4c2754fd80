// Generates a large product catalogue, the same at each run, and loads it fast.
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import { fold } from '../drizzle/fold.ts'
import { products } from '../src/resources/products.ts'

export const MANY = 100_000

export type Product = {
  id: number
  sku: string | null
  name: string
  description: string
  /** In cents. */
  price: number
  stock: number
  brand: string
  category: number | null
  /** `created_at` and `updated_at` are milliseconds since 1970. */
  created_at: number
  updated_at: number
}

export type Category = {
  id: number
  name: string
  slug: string
  parent: number | null
  created_at: number
  updated_at: number
}

export type Catalogue = {
  products: Product[]
  categories: Category[]
}

const FIRST = Date.parse('2024-01-01T00:00:00.000Z')
const MINUTE = 60_000
const YEAR = 365 * 24 * 60 * MINUTE

/** Words in order of frequency, the most frequent first: see `among`. */
const WORDS = {
  quality:
    'red blue soft Warm light Grüne plain bold quiet royal crisp Écru narrow Broad simple modern rustic vivid dusky pale ivory amber cobalt rosé'.split(
      ' ',
    ),
  noun: 'shirt Coat sock scarf glove Hat belt boot lamp chair table Größe plate spoon kettle towel pillow blanket curtain carpet vase 麵包 clock mirror shelf basket bottle candle frame easel 한글 zwieback'.split(
    ' ',
  ),
  material: 'cotton linen wool silk oak glass steel brass paper leather Äther quartz'.split(' '),
  use: 'summer winter travel garden office Straße zephyr'.split(' '),
}
const BRANDS = 300
/** The parent of each category. There are four trees of eight categories, and the last category has no product. */
const PARENTS = Array.from({ length: 32 }, (_, index) => (index < 4 ? null : index < 16 ? (index % 4) + 1 : index - 11))
const USED_CATEGORIES = PARENTS.length - 1

/** Returns a generator of numbers from 0 to 1, the same at each run (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

export function generateCatalogue(rows = MANY): Catalogue {
  const random = randomNumbers(20_260_101)
  /** Picks an index with a skewed distribution: of 300, the first in one of seven cases, the last in one of 900. */
  const place = (length: number) => Math.floor(length * random() ** 3)
  const among = (words: readonly string[]) => words[place(words.length)] as string
  const product = (_: unknown, index: number): Product => {
    const id = index + 1
    const length = random()
    const noun = among(WORDS.noun)
    const created_at = FIRST + index * MINUTE + Math.floor(random() * MINUTE)
    return {
      id,
      sku: random() < 0.05 ? null : `${among(WORDS.material).slice(0, 2).toUpperCase()}-${id}`,
      name: [
        among(WORDS.quality),
        noun,
        ...(length < 0.5 ? [] : [`of ${among(WORDS.material)}`]),
        ...(length < 0.75 ? [] : [`for ${among(WORDS.use)}`]),
      ].join(' '),
      description: random() < 0.3 ? '' : `A ${noun} made for ${among(WORDS.use)}${random() < 0.01 ? ', from the Ölmühle' : ''}`,
      price: random() < 0.04 ? 999 : 100 * (1 + Math.floor(random() * 500)) - (random() < 0.5 ? 1 : 0),
      stock: random() < 0.1 ? 0 : Math.floor(random() * 501),
      brand: `Brand ${place(BRANDS)}`,
      category: random() < 0.05 ? null : 1 + place(USED_CATEGORIES),
      created_at,
      updated_at: random() < 0.05 ? FIRST + YEAR : created_at + Math.floor(random() * YEAR),
    }
  }
  return {
    products: Array.from({ length: rows }, product),
    categories: PARENTS.map((parent, index) => ({
      id: index + 1,
      name: `Category ${index + 1}`,
      slug: `category-${index + 1}`,
      parent,
      created_at: FIRST + index,
      updated_at: FIRST + index + MINUTE,
    })),
  }
}

const CATEGORY_COLUMNS = ['id', 'name', 'slug', 'parent', 'created_at', 'updated_at'] as const
const PRODUCT_COLUMNS = ['id', 'sku', 'name', 'description', 'price', 'stock', 'brand', 'category', 'created_at', 'updated_at'] as const
const TIMES: readonly string[] = ['created_at', 'updated_at']

/** Returns the columns of each table and the values of each row. */
function listTables({ products: rows, categories }: Catalogue): [table: string, columns: readonly string[], rows: unknown[][]][] {
  const folded = products.served.foldedFields as (keyof Product)[]
  const foldText = (value: unknown) => (value === null ? null : fold(String(value)))
  return [
    ['categories', CATEGORY_COLUMNS, categories.map((row) => CATEGORY_COLUMNS.map((column) => row[column]))],
    ['categories_search', ['id', 'name', 'slug'], categories.map(({ id, name, slug }) => [id, fold(name), fold(slug)])],
    ['products', PRODUCT_COLUMNS, rows.map((row) => PRODUCT_COLUMNS.map((column) => row[column]))],
    ['products_search', ['id', ...folded], rows.map((row) => [row.id, ...folded.map((column) => foldText(row[column]))])],
  ]
}

/** Writes a catalogue into the empty, migrated database at `url`. */
export async function loadCatalogue(url: string, catalogue: Catalogue): Promise<void> {
  const tables = listTables(catalogue)
  if (url.startsWith('file:')) loadSqlite(url.slice('file:'.length), tables)
  else await loadPostgres(url, tables)
}

interface Trigger {
  name: string
  sql: string
}

function loadSqlite(path: string, tables: ReturnType<typeof listTables>): void {
  const client = new Sqlite(path)
  client.pragma('synchronous = off')
  client.pragma('cache_size = -200000')
  client.exec('begin immediate')
  for (const [table, columns, rows] of tables) {
    // Building a full-text index at once takes a sixth of the time of filling it row by row.
    const trigger = client.prepare(`select name, sql from sqlite_schema where name = ?`).get(`${table}_inserted`) as Trigger
    const isIndexed = table.endsWith('_search')
    if (isIndexed) client.exec(`drop trigger ${trigger.name}`)
    const insert = client.prepare(`insert into ${table} (${columns}) values (${columns.map(() => '?')})`)
    for (const row of rows) insert.run(row)
    if (isIndexed) client.exec(`insert into ${table}_fts (${table}_fts) values ('rebuild'); ${trigger.sql}`)
  }
  client.exec('commit')
  client.pragma('wal_checkpoint(truncate)')
  client.close()
}

/** Rows per INSERT statement. */
const BATCH = 5_000

async function loadPostgres(url: string, tables: ReturnType<typeof listTables>): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query("set maintenance_work_mem = '256MB'; begin")
  for (const [table, columns, rows] of tables) {
    const values = columns.map((column) =>
      TIMES.includes(column) ? `to_timestamp((value->>${columns.indexOf(column)})::float8 / 1000)` : '',
    )
    const types = await client.query({ text: `select ${columns} from ${table} limit 0` })
    const expressions = types.fields.map(
      ({ dataTypeID }, index) => values[index] || `(value->>${index})::${dataTypeID === pg.types.builtins.INT8 ? 'bigint' : 'text'}`,
    )
    for (let start = 0; start < rows.length; start += BATCH)
      await client.query(`insert into ${table} (${columns}) select ${expressions} from json_array_elements($1) value`, [
        JSON.stringify(rows.slice(start, start + BATCH)),
      ])
  }
  await client.query('commit')
  // Statistics use all rows. A random sample sometimes leads to another query plan.
  await client.query('set default_statistics_target = 1000')
  await client.query('vacuum analyze categories, categories_search, products, products_search')
  await client.end()
}
