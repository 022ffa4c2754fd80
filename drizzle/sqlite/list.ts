// Reads a list on SQLite: counts what matches, and by that chooses between sorting it and walking along the order's index.
import {
  buildListPage,
  type Count,
  type CountMode,
  computeCountLimit,
  computePageNumber,
  isEmpty,
  type ListPage,
  MAX_SORTED,
  parseHead,
  type Selection,
} from '../selection.ts'
import type { Statement } from '../statement.ts'
import { type BoundedReader, type Budget, BudgetExceeded, readCpuTime } from './reader.ts'

/** What was found of a filter before, and the version of the table for which that holds. */
export interface FilterStats {
  version: string
  count: Count
  /** The clause that the fewest rows hold for, where that was looked for. */
  driver: number | undefined
  /** Its posting lists were read to the end in little time. */
  isQuick: boolean
  /** Rows of the table, and rows visited to count those that match. */
  rowCount: number
  visitedForCount: number
}

/** All that is needed to read a list, as plain data: it may be sent to another thread. */
export interface ListJob {
  statements: Record<string, Statement>
  values: readonly unknown[]
  /** For each clause that may drive, whether an index leads to its rows, and the posting lists that may be read before the first of them is seen. */
  clauses: readonly { indexed: boolean; postings: number }[]
  place: Selection['place']
  size: number
  count: CountMode
  countLimit: number
  stats: FilterStats | undefined
}

/** What may be spent on a job. */
export interface ReadLimits {
  count: Budget
  rows: Budget
  /** What may be passed over where no budget sees it: rows by an offset, and entries of posting lists. */
  unseen: { rows: number; postings: number }
  /** Of a count that goes beyond its budget: `partial` takes what it has, `refused` ends the job, `none` does not begin. */
  counts: 'partial' | 'refused' | 'none'
  /** Rows after which a walk along an index is given up for sorting all that matches. */
  walk: number
}

export interface ReadResult {
  page: ListPage
  stats: FilterStats
  /** Rows visited for the page. */
  visited: number
}

/** Milliseconds of reading posting lists that the main thread can bear. */
const QUICK = 8

/** Reads a list, all of one moment. Throws Exceeded where that takes more than the limits allow. */
export function readList(reader: BoundedReader, job: ListJob, limits: ReadLimits): ReadResult {
  return readInOneStatement(reader, job, limits) ?? reader.inSnapshot(() => readInSnapshot(reader, job, limits))
}

/** By one statement, where what was found before decides how and still holds; undefined where it does not. */
function readInOneStatement(reader: BoundedReader, job: ListJob, limits: ReadLimits): ReadResult | undefined {
  const { stats: known, place } = job
  if (job.clauses.length > 0 && (!known || !canReadPostings(job, known.rowCount, limits))) return undefined
  // The nearer end of the list is only known when it is counted.
  const offset = 'beside' in place ? 0 : place.page === 'last' ? Number.NaN : (place.page - 1) * job.size
  if (!(offset <= NEAR)) return undefined
  const plan = { count: known?.count ?? MANY, driver: known?.driver, rowCount: known?.rowCount ?? 0 }
  if (known && isEmpty(known.count)) return undefined
  reader.visited = 0
  const rows = reader.withBudget(limits.rows, () => readRows(reader, job, limits, plan, { name: 'rows', passed: offset }))
  const head = parseHead(rows[0]?.at(-1))
  if (!head || (known && known.version !== head.version)) return undefined
  const { version, count } = head
  const found = known ?? describeUnfiltered(version, count)
  const listed = buildListPage(job, rows, { count: found.count, offset, back: false, others: rows[0]?.at(-2) === 1 })
  return { page: listed, stats: found, visited: reader.visited }
}

/** What is known of a list without filters. */
const describeUnfiltered = (version: string, count: Count): FilterStats => ({
  version,
  count,
  driver: undefined,
  isQuick: true,
  rowCount: count.rows,
  visitedForCount: 0,
})

/** Rows before a page up to which it does not matter from which end it is looked for. */
const NEAR = 2_000
const MANY: Count = { rows: 0, exact: false }

/** By several, inside a transaction: what matches is counted, which decides how the rest is read. */
function readInSnapshot(reader: BoundedReader, job: ListJob, limits: ReadLimits): ReadResult {
  const [[text] = []] = reader.all(getStatement(job, 'head'), [])
  const { version, count: all } = parseHead(text) ?? { version: '', count: { rows: 0, exact: true } }
  if (!canReadPostings(job, all.rows, limits)) throw new BudgetExceeded()
  const known = countMatches(reader, job, limits, describeUnfiltered(version, all))
  const before = reader.visited
  const listed = reader.withBudget(limits.rows, () => readPage(reader, job, limits, known))
  return { page: listed, stats: known, visited: reader.visited - before }
}

/** Whether the posting lists are short enough, or were when they were read before. */
function canReadPostings({ clauses, stats: known }: ListJob, rowCount: number, { unseen }: ReadLimits): boolean {
  if (known?.isQuick) return true
  return rowCount * clauses.reduce((sum, { postings }) => sum + postings, 0) <= unseen.postings
}

function getStatement({ statements }: ListJob, name: string, driver?: number): Statement {
  return statements[driver === undefined ? name : `${name}:${driver}`] as Statement
}

/** `all` is what is known of all rows. */
function countMatches(reader: BoundedReader, job: ListJob, limits: ReadLimits, all: FilterStats): FilterStats {
  const { stats: known } = job
  if (job.clauses.length === 0) return all
  if (known?.version === all.version) return known
  if (limits.counts === 'none') throw new BudgetExceeded()
  const start = readCpuTime()
  let driver: number | undefined
  reader.matched = 0
  try {
    return reader.withBudget<FilterStats>(limits.count, () => {
      driver = chooseDriver(reader, job)
      const [[rows] = [0]] = reader.all(getStatement(job, 'count', driver), job.values) as [number][]
      const limit = computeCountLimit(job)
      const exact = rows <= limit
      const isQuick = exact && readCpuTime() - start < QUICK
      return { ...all, count: { rows: Math.min(rows, limit), exact }, driver, isQuick, visitedForCount: reader.visited }
    })
  } catch (error) {
    if (!(error instanceof BudgetExceeded) || limits.counts === 'refused' || job.count === 'exact') throw error
    return { ...all, count: { rows: reader.matched, exact: false }, driver, isQuick: false, visitedForCount: reader.visited }
  }
}

/** The clause that few rows hold for; undefined where there is none, and the first with an index where it is the only clause. */
function chooseDriver(reader: BoundedReader, job: ListJob): number | undefined {
  const indexed = [...job.clauses.keys()].filter((clause) => job.clauses[clause]?.indexed)
  if (job.clauses.length === 1) return indexed[0]
  let [driver, fewest]: [number | undefined, number] = [undefined, MAX_SORTED + 1]
  for (const clause of indexed) {
    const [[rows] = [0]] = reader.all(getStatement(job, 'probe', clause), job.values) as [number][]
    if (rows < fewest) [driver, fewest] = [clause, rows]
  }
  return driver
}

interface ReadPlan {
  count: Count
  driver: number | undefined
  rowCount: number
}

function readPage(reader: BoundedReader, job: ListJob, limits: ReadLimits, plan: ReadPlan): ListPage {
  const { place, size } = job
  const { count } = plan
  const page = computePageNumber(job, count)
  const empty: ListPage = { count, rows: [], page, hasBefore: page > 1, hasAfter: false }
  // Where the end is not known, there is no page to call the last.
  if ('page' in place && place.page === 'last' && !count.exact) return { ...empty, page: 0 }
  const offset = 'page' in place ? (page - 1) * size : 0
  if (count.exact && offset >= count.rows) return empty
  // The nearer end of the list, where it is known.
  const back = count.exact && offset > 0 && offset > count.rows / 2
  const passed = back ? Math.max(0, count.rows - offset - size) : offset
  if (passed > limits.unseen.rows) throw new BudgetExceeded()
  const rows = readRows(reader, job, limits, plan, { name: back ? 'back' : 'rows', passed })
  // Behind a row stands whether there are others; without one it has to be asked for.
  const [first] = rows
  const asked = () => ('beside' in place ? readRows(reader, job, limits, plan, { name: 'others', passed: 0 })[0]?.[0] : undefined)
  return buildListPage(job, rows, { count, offset, back, others: (first ? first.at(-2) : asked()) === 1 })
}

/** Runs a statement in the way that visits the fewest rows. */
function readRows(
  reader: BoundedReader,
  job: ListJob,
  limits: ReadLimits,
  plan: ReadPlan,
  { name, passed }: { name: 'rows' | 'back' | 'others'; passed: number },
): unknown[][] {
  const values = 'page' in job.place ? [...job.values, passed] : job.values
  const sorted = () => reader.all(getStatement(job, name, plan.driver ?? findIndexedClause(job)), values)
  const walk = computeWalkLimit(job, limits, plan, passed)
  if (walk === 0) return sorted()
  const end = reader.visited + walk
  let far = false
  const budget: Budget = (visited) => {
    limits.rows(visited)
    far = visited > end
    if (far) throw new BudgetExceeded()
  }
  try {
    return reader.withBudget(budget, () => reader.all(getStatement(job, name), values))
  } catch (error) {
    if (!far) throw error
    return sorted()
  }
}

/** Rows that a walk may visit before it is given up for sorting: none where that is the better way from the beginning. */
function computeWalkLimit({ clauses, size }: ListJob, { walk }: ReadLimits, { count, rowCount, driver }: ReadPlan, passed: number): number {
  if (clauses.length === 0 || !count.exact) return walk
  // What is found by the index of one of several clauses may not hold for the others; where none has few, it may be almost any row.
  const sorting = driver === undefined ? rowCount : clauses.length > 1 ? MAX_SORTED : count.rows
  // If the matches are spread evenly. Where they are not, sorting them after all is not much more.
  const expected = ((passed + size) * rowCount) / Math.max(1, count.rows)
  return expected < sorting / 2 ? Math.min(walk, sorting) : count.rows > MAX_SORTED ? walk : 0
}

/** Where no clause has an index, statements without a driver find all that matches too. */
function findIndexedClause({ clauses }: ListJob): number | undefined {
  const first = clauses.findIndex(({ indexed }) => indexed)
  return first < 0 ? undefined : first
}
