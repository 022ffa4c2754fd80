// The number of rows that lists visit. A page visits no more rows than the shorter of two ways: along the order to the end of the page, or
// through an index to all matches. Checked for every filter, pairs of filters and every order, with none, few and many matches among
// 100,000 rows.
// VISITS=all continues from each first page to the next and last ones, and tries more orders and pairs.
import type pg from 'pg'
import { Piscina } from 'piscina'
import type { Test } from 'tap'
import type { Database } from '../../drizzle/database.ts'
import { fold } from '../../drizzle/fold.ts'
import { createPool } from '../../drizzle/pg/pool.ts'
import { createListReader as createPostgresReader } from '../../drizzle/pg/reading.ts'
import { MAX_SORTED } from '../../drizzle/selection.ts'
import type { ReadResult } from '../../drizzle/sqlite/list.ts'
import { BoundedReader } from '../../drizzle/sqlite/reader.ts'
import { createListReader as createSqliteReader } from '../../drizzle/sqlite/reading.ts'
import type { App } from '../../src/http/routes.ts'
import { type Kind, meta } from '../../src/query/fields.ts'
import { listRecords, type RecordPage } from '../../src/query/list.ts'
import type { FilterValue, LookupName } from '../../src/query/lookups.ts'
import { compileQuerystring } from '../../src/query/querystring.ts'
import type { Resource } from '../../src/query/resource.ts'
import { categories } from '../../src/resources/categories.ts'
import { products } from '../../src/resources/products.ts'
import type { Dialect } from '../dialects.ts'
import { build } from '../helper.ts'
import { generateCatalogue, loadCatalogue } from '../large-catalogue.ts'

/** Without VISITS=all, one in THIN of the additional requests is made. */
const THIN = process.env.VISITS === 'all' ? 1 : 25

/** The test tries one in SINGLES of the single conditions. */
const SINGLES = THIN === 1 ? 1 : 4

/** Rows that a request may visit on the main thread, and anywhere if no way to the page is shorter. */
const LIMIT = 20_000
/** A row may be visited several times: in its table and in the search table, to choose a way, to follow it, and to look back. */
const SLACK = 7
const COUNT_LIMIT = 100_000
const PAGE_SIZE = 20
/** Milliseconds, so long that no list is abandoned on a slow machine. */
const TIMEOUT = 30_000

/** The maximum number of violations that a failure shows of each kind. */
const SHOWN = 30

type Value = string | number
type Row = Record<string, Value | null> & { id: number }

const CATALOGUE = generateCatalogue()
const listRows = ({ table }: Resource): Row[] => (CATALOGUE as Record<string, Row[]>)[table] ?? []
const compare = (a: Value, b: Value) => (a < b ? -1 : Number(a > b))

/** A field of a resource with the values in its rows. */
interface Field {
  name: string
  kind: Kind
  /** Values as in URLs, in ascending order, without NULL. */
  sorted: string[]
  /** Distinct values, the most frequent first. */
  frequent: string[]
}

/** Conversions between values and their form in URLs. */
const spellings: Record<Kind, { write(value: Value): string; read(text: string): Value }> = {
  text: { write: String, read: String },
  boolean: { write: String, read: String },
  integer: { write: String, read: Number },
  reference: { write: String, read: Number },
  decimal: { write: (value) => (Number(value) / 100).toFixed(2), read: (text) => Math.round(Number(text) * 100) },
  time: { write: (value) => new Date(value).toISOString(), read: Date.parse },
  json: { write: String, read: String },
}

function buildField(resource: Resource, name: string): Field {
  const declared = resource.contract[name]
  if (!declared) throw new Error(`${resource.table} has no field ${name}`)
  const { kind } = declared[meta]
  const present = listRows(resource).flatMap((row) => row[name] ?? [])
  const sorted = present.sort(compare).map(spellings[kind].write)
  const frequent = [...Map.groupBy(sorted, (text) => text)].sort(([, a], [, b]) => b.length - a.length).map(([text]) => text)
  return { name, kind, sorted, frequent }
}

const at = ({ sorted }: Field, part: number) => sorted[Math.floor(part * (sorted.length - 1))] ?? ''
const rarest = ({ frequent }: Field) => frequent.at(-1) ?? ''
const commonest = ({ frequent: [first = ''] }: Field) => first

/** Values after and before all values of a field, by kind. */
const BEHIND: Record<Kind, string> = {
  text: 'xyzzy',
  boolean: '',
  integer: '200000',
  reference: '200000',
  decimal: '600.01',
  time: '2040-01-01T00:00:00.000Z',
  json: '',
}
const BEFORE: Record<Kind, string> = { ...BEHIND, integer: '-1', decimal: '-1', time: '1980-01-01T00:00:00.000Z' }

/** For each lookup, values that match none, few and many rows, as far as the field has such values. Empty values are skipped. */
const pickValues: Record<LookupName, (field: Field) => string[]> = {
  exact: (field) => [BEHIND[field.kind], rarest(field), commonest(field)],
  gt: (field) => [at(field, 1), at(field, 0.99), at(field, 0.4)],
  gte: (field) => [BEHIND[field.kind], at(field, 0.99), at(field, 0.4)],
  lt: (field) => [at(field, 0), at(field, 0.01), at(field, 0.6)],
  lte: (field) => [BEFORE[field.kind], at(field, 0.01), at(field, 0.6)],
  range: (field) => [`${at(field, 1)},${at(field, 0)}`, `${at(field, 0.5)},${at(field, 0.51)}`, `${at(field, 0.3)},${at(field, 0.9)}`],
  in: (field) => [
    BEHIND[field.kind],
    field.frequent.slice(-5).join(','),
    field.frequent.slice(0, field.kind === 'reference' ? 5 : 90).join(','),
  ],
  isnull: () => ['true', 'false'],
  iexact: (field) => ['XYZZY', rarest(field).toUpperCase(), commonest(field).toUpperCase()],
  icontains: (field) => ['xyzzy', '麵', 'ße', 'zw', 'e', 'WIEB', rarest(field), commonest(field).slice(0, 3)],
  istartswith: (field) => ['xyzzy', rarest(field).slice(0, -1), commonest(field).slice(0, 2)],
  slug: () => ['xyzzy', 'category-31', 'category-2', 'category-1'],
  under: () => ['32', '31', '4', '1'],
}
const SEARCHES = ['xyzzy', 'zwieback zephyr', '"red shirt"', 'zw', '麵包', 'e', 'red zwieback', 'of 麵', 'shirt cotton winter']

/** For each lookup, whether it matches a row with `value`, as documented. */
const meets: Record<LookupName, (kind: Kind, text: string) => (value: Value) => boolean> = {
  exact: (kind, text) => {
    const sought = spellings[kind].read(text)
    return (value) => value === sought
  },
  gt: (kind, text) => {
    const sought = spellings[kind].read(text)
    return (value) => value > sought
  },
  gte: (kind, text) => {
    const sought = spellings[kind].read(text)
    return (value) => value >= sought
  },
  lt: (kind, text) => {
    const sought = spellings[kind].read(text)
    return (value) => value < sought
  },
  lte: (kind, text) => {
    const sought = spellings[kind].read(text)
    return (value) => value <= sought
  },
  range: (kind, text) => {
    const [low = '', high = ''] = text.split(',').map(spellings[kind].read)
    return (value) => value >= low && value <= high
  },
  in: (kind, text) => {
    const all = new Set(text.split(',').map(spellings[kind].read))
    return (value) => all.has(value)
  },
  isnull: (_, text) => () => text === 'false',
  iexact: (_, text) => {
    const sought = fold(text)
    return (value) => foldOnce(String(value)) === sought
  },
  icontains: (_, text) => {
    const sought = fold(text)
    return (value) => foldOnce(String(value)).includes(sought)
  },
  istartswith: (_, text) => {
    const sought = fold(text)
    return (value) => foldOnce(String(value)).startsWith(sought)
  },
  slug: (_, text) => (value) => `category-${value}` === text,
  under: (_, text) => {
    const below = (root: number): number[] => [
      root,
      ...CATALOGUE.categories.flatMap(({ id, parent }) => (parent === root ? below(id) : [])),
    ]
    const all = new Set(below(Number(text)))
    return (value) => all.has(Number(value))
  },
}

/** A filter parameter with a value. */
interface Condition {
  name: string
  text: string
  /** 1 for each row that it matches, else 0. */
  readonly rows: Uint8Array
  readonly matches: number
  /** Whether an index leads to the matches. */
  indexed: boolean
}

/** Matches the rows only when the condition is tried, since without VISITS=all most are not. */
function createCondition(name: string, text: string, findRows: () => Uint8Array, indexed: boolean): Condition {
  let matching: Uint8Array | undefined
  let matches: number | undefined
  return {
    name,
    text,
    indexed,
    get rows() {
      matching ??= findRows()
      return matching
    },
    get matches() {
      matches ??= this.rows.reduce((sum, row) => sum + row, 0)
      return matches
    },
  }
}

const foldings = new Map<string, string>()

/** Folds each distinct text once, since rows share texts. */
function foldOnce(text: string): string {
  const folded = foldings.get(text) ?? fold(text)
  foldings.set(text, folded)
  return folded
}

/** Returns every filter parameter of a resource with its values. Throws for a lookup without values here. */
function buildConditions(resource: Resource, db: Database): Map<string, Condition[]> {
  const rows = listRows(resource)
  const fields = new Map(Object.keys(resource.contract).map((name) => [name, buildField(resource, name)]))
  const read = compileQuerystring(resource.list.querystring)
  const isIndexed = (name: string, text: string) => {
    const { values } = read(String(new URLSearchParams([[name, text]])))
    return !resource.list.filters.get(name)?.clause(db, values[name] as FilterValue[]).isUnindexed
  }
  const all = [...resource.list.filters.keys()].map((parameter): [string, Condition[]] => {
    const [name = '', lookup = 'exact'] = parameter.replace('!', '').split('__') as [string, LookupName]
    const field = fields.get(name)
    const picked = field && pickValues[lookup]?.(field).filter((text) => text !== '')
    if (!field || !picked || picked.length === 0) throw new Error(`${parameter} has no values in this test`)
    const isPositive = !parameter.endsWith('!')
    const conditions = [...new Set(picked)].map((text) => {
      const test = meets[lookup](field.kind, text)
      const ofNull = lookup === 'isnull' && text === 'true'
      const isFound = (row: Row) => {
        const value = row[name] ?? null
        return Number((value === null ? ofNull : test(value)) === isPositive)
      }
      return createCondition(parameter, text, () => Uint8Array.from(rows, isFound), isIndexed(parameter, text))
    })
    return [parameter, conditions]
  })
  const folded = rows.map((row) => resource.search.map((field) => foldOnce(String(row[field] ?? ''))).join('\n'))
  const searches = SEARCHES.map((text) => {
    const terms = (text.match(/"[^"]*"|\S+/g) ?? []).map((term) => fold(term.replaceAll('"', '')))
    return createCondition(
      'search',
      text,
      () => Uint8Array.from(folded, (row) => Number(terms.every((term) => row.includes(term)))),
      !db.dialect.contains(resource.table, db.tables[resource.table].id, resource.search, terms).isUnindexed,
    )
  })
  return new Map([...all, ['search', searches]])
}

const orders = new Map<string, Uint32Array>()

/** Returns the positions of a resource's rows in an order. */
function sortPlaces(resource: Resource, ordering: string): Uint32Array {
  const cachedOrder = orders.get(`${resource.table} ${ordering}`)
  if (cachedOrder) return cachedOrder
  const rows = listRows(resource)
  const terms = ordering.split(',').map((term) => ({ field: term.replace('-', ''), sign: term.startsWith('-') ? -1 : 1 }))
  const keys = [...terms, { field: 'id', sign: terms.at(-1)?.sign ?? 1 }].map(({ field, sign }) => ({
    values: rows.map((row) => row[field] ?? null),
    sign,
  }))
  const order = Uint32Array.from(rows.keys()).sort((a, b) => {
    for (const { values, sign } of keys) {
      const x = values[a] ?? null
      const y = values[b] ?? null
      if (x !== y) return sign * (x === null ? -1 : y === null ? 1 : compare(x, y))
    }
    return 0
  })
  orders.set(`${resource.table} ${ordering}`, order)
  return order
}

/**
 * Returns a function that finds the first or last place of rows that an index serves together: rows equal in the first field of an order by
 * several.
 */
function createGroupFinder(resource: Resource, ordering: string): (place: number | undefined, end: 'first' | 'last') => number | undefined {
  const [first = '', second] = ordering.split(',').map((term) => term.replace('-', ''))
  const alone = !second || first === 'id'
  const [order, rows] = [sortPlaces(resource, ordering), listRows(resource)]
  const step = { first: -1, last: 1 }
  const key = (place: number) => rows[order[place] ?? -1]?.[first]
  return (place, end) => {
    if (alone || place === undefined) return place
    let last = place
    while (key(last + step[end]) === key(place)) last += step[end]
    return last
  }
}

/** Rows visited by one request. */
interface Visits {
  /** Rows visited in each attempt on the main thread. */
  attempts: number[]
  /** Rows visited for the count and for the page, wherever the page was read. */
  count: number
  page: number
  /** Rows visited for the page in the pool, if it was read there. */
  pool?: number
  plans: unknown[]
}

const createVisits = (): Visits => ({ attempts: [], count: 0, page: 0, plans: [] })

interface Engine {
  db: Database
  /** Returns the rows visited since the last call. */
  visits(): Promise<Visits>
}

async function openSqlite(t: Test, app: App): Promise<Engine> {
  const path = app.config.DATABASE_URL.slice('file:'.length)
  const reader = new BoundedReader(path)
  const { list, close } = createSqliteReader(reader, { path, timeout: TIMEOUT, countTime: TIMEOUT })
  t.teardown(() => close().then(() => reader.connection.close()))
  let visits = createVisits()
  // Each attempt restarts the counter.
  let attempt = 0
  Object.defineProperty(reader, 'visited', {
    get: () => attempt,
    set(visited: number) {
      if (visited < attempt) visits.attempts.push(attempt)
      attempt = visited
    },
  })
  const { run } = Piscina.prototype
  Piscina.prototype.run = async function (this: Piscina, ...job) {
    const result: ReadResult = await run.apply(this, job)
    visits.count = result.stats.visitedForCount
    visits.pool = result.visited
    return result
  }
  t.teardown(() => {
    Piscina.prototype.run = run
  })
  return {
    db: { ...app.db, list },
    async visits() {
      const { attempts, count, pool } = visits
      const all = [...attempts, attempt]
      const total = { ...createVisits(), attempts: all, count, page: pool ?? attempt }
      visits = createVisits()
      attempt = 0
      return total
    },
  }
}

interface Plan {
  'Node Type': string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  'Rows Removed by Index Recheck'?: number
  Plans?: Plan[]
}

/** Returns the number of rows that the scans of a plan visited. */
function countVisits(plan: Plan): number {
  const below = (plan.Plans ?? []).reduce((sum, part) => sum + countVisits(part), 0)
  if (!/^(Seq|Index|Index Only|Bitmap Heap) Scan$/.test(plan['Node Type'])) return below
  const rows = plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0) + (plan['Rows Removed by Index Recheck'] ?? 0)
  return below + rows * plan['Actual Loops']
}

async function openPostgres(t: Test, app: App): Promise<Engine> {
  // The timeouts are longer than in the application, so that results do not depend on the load of the machine.
  const options = { max: 2, wait: TIMEOUT, statementTimeout: TIMEOUT }
  const pools = { short: createPool(app.config.DATABASE_URL, options), long: createPool(app.config.DATABASE_URL, options) }
  const explaining = createPool(app.config.DATABASE_URL, { ...options, max: 1 })
  t.teardown(() => Promise.all([pools.short, pools.long, explaining].map((pool) => pool.end())))
  let statements: { text: string; values: unknown[] }[] = []
  const watch = (client: pg.PoolClient) => {
    const query = client.query.bind(client) as (...args: unknown[]) => never
    client.query = (...args: unknown[]) => {
      const [first] = args as [{ text?: string }]
      // The other statements read the head and the count.
      if (first.text && !/^select (sum|count)\b/.test(first.text)) statements.push(first as (typeof statements)[number])
      return query(...args)
    }
  }
  pools.short.on('connect', watch)
  pools.long.on('connect', watch)
  const { list } = createPostgresReader(pools, { timeout: TIMEOUT, countTime: TIMEOUT })
  return {
    db: { ...app.db, list },
    async visits() {
      const total = createVisits()
      for (const { text, values } of statements) {
        const { rows } = await explaining.query(`explain (analyze, buffers, timing off, format json) ${text}`, values)
        const [{ Plan: plan }] = rows[0]['QUERY PLAN'] as [{ Plan: Plan }]
        total.page += countVisits(plan)
        total.plans.push({ text, values, plan })
      }
      statements = []
      return total
    },
  }
}

interface Way {
  engine(t: Test, app: App): Promise<Engine>
  /** Orders per condition, and one pair of conditions in `pairs`. */
  orderings: number
  pairs: number
  /** Beyond this many index rows, reading the whole table is faster than looking them up. */
  whole: number
  /** Whether few matches are sorted however they are found. */
  sorts: boolean
  /** The limit for a page at a cursor, which leads to its place at any depth. */
  seek: number
  /** Reasons for which a list may visit more rows than the limit. */
  excused: Record<string, (conditions: readonly Condition[]) => boolean>
}

const isSought = (name: string) => name === 'search' || name.includes('icontains')
const isShort = (text: string) => text.length < 3
const isShortAscii = (text: string) => isShort(text) && /^[ -~]+$/.test(text)

const ways: Record<string, Way> = {
  sqlite: {
    engine: openSqlite,
    orderings: 4,
    pairs: 2,
    whole: Number.POSITIVE_INFINITY,
    seek: 10_000,
    sorts: false,
    excused: {
      'a term of one or two characters visits each of its occurrences': (conditions) =>
        conditions.some(({ name, text }) => isSought(name) && text.split(' ').some(isShort)),
      'the more selective of two filters with many matches is unknown': (conditions) =>
        conditions.length > 1 && conditions.every(({ matches }) => matches > MAX_SORTED),
    },
  },
  pg: {
    engine: openPostgres,
    orderings: 2,
    pairs: 5,
    whole: MAX_SORTED,
    // With several order fields, it reads from the first row that is equal in the first field.
    seek: LIMIT,
    sorts: true,
    excused: {
      'ASCII terms of one or two characters have no trigrams, so all texts are read': (conditions) =>
        conditions.some(({ name, text }) => isSought(name) && text.split(' ').every(isShortAscii)),
      'PostgreSQL has no statistics of short terms beyond ASCII and may read all texts': (conditions) =>
        conditions.some(({ name, text }) => isSought(name) && text.split(' ').some(isShort)),
      'a negated text first finds all rows that it excludes': (conditions) =>
        conditions.some(({ name }) => /__i(contains|exact|startswith)!/.test(name)),
      'a frequent text is found in all its rows and joined with the other filter': (conditions) =>
        conditions.length > 1 && conditions.some(({ name, matches }) => isSought(name) && matches > LIMIT),
    },
  },
}

/** Orders by two fields, in addition to the declared orders by one. */
const PAIRS_OF_FIELDS = ['brand,-price', '-category,name', '-stock,-id', 'created_at,-updated_at', 'name,sku']

interface ListRequest {
  resource: Resource
  conditions: readonly Condition[]
  rows: Uint8Array | undefined
  ordering: string
  count: 'bounded' | 'none'
}

/** Requests the lists on one database. Each database has a separate test file, to use both cores. */
export async function checkVisits(t: Test, dialect: Dialect): Promise<void> {
  const { engine: start, orderings: orderCount, pairs, whole, seek, sorts, excused } = ways[dialect.name] as Way
  const app = await build(t, dialect)
  await loadCatalogue(app.config.DATABASE_URL, CATALOGUE)
  const engine = await start(t, app)
  const readers = new Map([products, categories].map(({ table, list }) => [table, compileQuerystring(list.querystring)]))
  /** Violations by kind. */
  const wrong: Record<string, unknown[]> = { answer: [], 'main thread': [], count: [], page: [] }
  let requests = 0

  /** Requests a page that begins at match number `from`, and checks the answer and the visited rows. */
  async function ask(asked: ListRequest, from: number, place: { page?: string; cursor?: string }): Promise<RecordPage> {
    const { resource, conditions, rows, ordering, count } = asked
    const filters = conditions.map(({ name, text }): [string, string] => [name, text])
    const url = String(new URLSearchParams([...filters, ...Object.entries({ ordering, count, ...place })]))
    const { values, faults } = readers.get(resource.table)?.(url) ?? { values: {}, faults: [] }
    if (faults.length > 0) throw new Error(`${url}: ${JSON.stringify(faults)}`)
    requests++
    const page = await listRecords(engine.db, resource, values, { countLimit: COUNT_LIMIT })
    const visits = await engine.visits()
    const what = `${resource.table}?${decodeURIComponent(url)}`

    const order = sortPlaces(resource, ordering)
    const places: number[] = []
    for (let place = 0; place < order.length; place++) if (!rows || rows[order[place] as number] === 1) places.push(place)
    const ids = places.slice(from, from + PAGE_SIZE).map((place) => (order[place] as number) + 1)
    const expectedCount = count === 'none' ? null : places.length
    if (page.rows.map(({ id }) => id).join() !== ids.join() || page.count !== expectedCount || !page.exact)
      wrong.answer?.push({ what, ids, found: page.rows.map(({ id }) => id), expectedCount, count: page.count })

    const group = createGroupFinder(resource, ordering)
    // A group ends when the first match after it is found.
    const ends = { first: group(places[from], 'first'), last: group(places[from + PAGE_SIZE], 'last') }
    const grouped = ends.last !== places[from + PAGE_SIZE] || ends.first !== places[from]
    const first = grouped ? places.findLast((place) => place < (ends.first ?? 0)) : ends.first
    const last = grouped ? places.find((place) => place > (ends.last ?? order.length)) : ends.last
    const behind = last ?? order.length
    const fromEnd = from > places.length / 2 ? order.length - (first ?? 0) + PAGE_SIZE : order.length
    const along = place.cursor ? behind - (group(places[from - 1], 'first') ?? 0) : Math.min(behind, fromEnd)
    const indexed = Math.min(...conditions.map(({ indexed, matches }) => (indexed ? matches : order.length)), order.length)
    const indexCost = indexed > whole ? order.length : indexed
    // The order is followed over rows in front of a numbered page, and when no index is known to lead to few rows.
    const walked = place.page === undefined ? count === 'none' && places.length > MAX_SORTED : place.cursor === undefined
    const isFew = places.length <= MAX_SORTED && conditions.length > 0
    const shorter =
      places.length === 0 ? 0 : walked ? along : !isFew ? Math.min(along, indexCost) : sorts || indexed <= MAX_SORTED ? indexCost : along
    const reasons = Object.keys(excused).filter((reason) => excused[reason]?.(conditions))
    if (visits.page > Math.max(place.cursor ? seek : LIMIT, SLACK * shorter) && reasons.length === 0)
      wrong.page?.push({ what, visited: visits.page, along, indexed, matches: places.length })
    // A count uses an index that leads to few rows, and otherwise reads all rows.
    if (visits.count > Math.max(LIMIT, SLACK * (indexed > MAX_SORTED ? order.length : indexed)) && reasons.length === 0)
      wrong.count?.push({ what, visited: visits.count, indexed })
    for (const visited of visits.attempts) if (visited > LIMIT) wrong['main thread']?.push({ what, visited })
    return page
  }

  async function askAll(asked: ListRequest, matches: number): Promise<void> {
    const first = await ask(asked, 0, {})
    if (first.next) await ask(asked, PAGE_SIZE, { page: '2', cursor: first.next.cursor })
    const pages = Math.ceil(matches / PAGE_SIZE)
    const deep = Math.ceil(pages / 3)
    if (deep > 1) {
      const { next, previous } = await ask(asked, (deep - 1) * PAGE_SIZE, { page: String(deep) })
      if (next) await ask(asked, deep * PAGE_SIZE, { page: String(deep + 1), cursor: next.cursor })
      if (previous) await ask(asked, (deep - 2) * PAGE_SIZE, { page: String(deep - 1), cursor: previous.cursor })
    }
    if (pages < 2 || asked.count === 'none') return
    const { previous } = await ask(asked, (pages - 1) * PAGE_SIZE, { page: 'last' })
    if (previous) await ask(asked, (pages - 2) * PAGE_SIZE, { page: String(pages - 1), cursor: previous.cursor })
  }

  for (const resource of [products, categories]) {
    const conditions = buildConditions(resource, engine.db)
    const declared: string[] = resource.list.querystring.properties.ordering?.items.enum
    const orderings = [...declared, ...(resource === products ? PAIRS_OF_FIELDS : [])]
    const pickOrdering = (index: number) => orderings[index % orderings.length] as string

    for (const ordering of orderings)
      await askAll({ resource, conditions: [], rows: undefined, ordering, count: 'bounded' }, listRows(resource).length)
    // The first order is read cold, the others warm.
    for (const [index, one] of [...conditions.values()].flat().entries()) {
      if (index % SINGLES > 0) continue
      const asked: ListRequest = { resource, conditions: [one], rows: one.rows, ordering: '', count: index % 3 === 2 ? 'none' : 'bounded' }
      const ordered = { ...asked, ordering: pickOrdering(index * orderCount) }
      await (index % (THIN * SINGLES) === 0 ? askAll(ordered, one.matches) : ask(ordered, 0, {}))
      for (let next = 1; next < orderCount / THIN; next++) await ask({ ...asked, ordering: pickOrdering(index * orderCount + next) }, 0, {})
    }
    const names = [...conditions.keys()].filter((name) => !name.endsWith('!'))
    let pair = 0
    for (const [place, a] of names.entries()) {
      for (const b of names.slice(place)) {
        if (pair++ % (pairs * THIN) > 0) continue
        // Repeated parameters are refused, so a parameter pairs with its own negation. Every other pair is negated too.
        const [one, other] = [conditions.get(a), conditions.get(a === b || pair % 2 === 0 ? `${b}!` : b) ?? conditions.get(b)]
        const chosen = [one?.[pair % one.length], other?.[(pair >> 2) % other.length]].filter((condition) => condition !== undefined)
        if (a === b && chosen[0]?.name === chosen[1]?.name) continue
        const rows = Uint8Array.from(chosen[0]?.rows ?? [])
        for (let index = 0; index < rows.length; index++) rows[index] = (rows[index] ?? 0) & (chosen[1]?.rows[index] ?? 0)
        const asked: ListRequest = {
          resource,
          conditions: chosen,
          rows,
          ordering: pickOrdering(pair * 7),
          count: pair % 3 === 2 ? 'none' : 'bounded',
        }
        await ask(asked, 0, {})
        if (pair % 3 === 0) await ask({ ...asked, ordering: pickOrdering(pair * 7 + 5) }, 0, {})
      }
    }
  }
  t.comment(`${requests} requests`)
  for (const [what, violations] of Object.entries(wrong))
    t.same(violations.slice(0, SHOWN), [], `${what}: ${violations.length} of ${requests}`)
}
