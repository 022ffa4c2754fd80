// Reads a list on SQLite: counts the matches, and by their number chooses between sorting them and walking along the index of the order.
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
  type TableHead,
} from '../selection.ts'
import type { Statement } from '../statement.ts'
import { type BoundedReader, type Budget, BudgetExceeded, readCpuTime } from './reader.ts'

/** Statistics of a filter, and the version of the tables that they hold for. */
export interface FilterStats {
  version: string
  count: Count
  /** Index of the clause that the fewest rows match. Undefined if none matches few, or if that was not probed. */
  driver: number | undefined
  /** Its posting lists were read to the end within QUICK. */
  isQuick: boolean
  /** Number of rows of the table. */
  rowCount: number
  /** Rows visited to count the matches. */
  visitedForCount: number
}

/** Everything needed to read a list, as plain data that can be sent to another thread. */
export interface ListJob {
  statements: Record<string, Statement>
  values: readonly unknown[]
  /** The clauses that may drive a statement. `postings` is `Clause.postings`, or 0. */
  clauses: readonly { hasIndex: boolean; postings: number }[]
  place: Selection['place']
  size: number
  count: CountMode
  countLimit: number
  stats: FilterStats | undefined
}

/** Limits on the work of a job. */
export interface ReadLimits {
  count: Budget
  rows: Budget
  /** Limits on work that no budget sees: rows skipped by an offset, and entries of posting lists. */
  unseen: { rows: number; postings: number }
  /** A count beyond its budget: `partial` keeps the matches so far, `refused` ends the job, `none` does not start counting. */
  counts: 'partial' | 'refused' | 'none'
  /** Visited rows after which a walk along an index is given up for sorting all matches. */
  walk: number
}

export interface ReadResult {
  page: ListPage
  stats: FilterStats
  /** Rows visited for the page. */
  visited: number
}

/** Milliseconds for which the main thread may read posting lists. */
const QUICK = 8

/** Reads a list at one moment. Throws BudgetExceeded if that exceeds the limits. */
export function readList(reader: BoundedReader, job: ListJob, limits: ReadLimits): ReadResult {
  return readInOneStatement(reader, job, limits) ?? reader.inSnapshot(() => readInSnapshot(reader, job, limits))
}

/** Reads a list by one statement. Returns undefined if it needs statistics, and those at hand are missing or out of date. */
function readInOneStatement(reader: BoundedReader, job: ListJob, limits: ReadLimits): ReadResult | undefined {
  const { stats, place } = job
  if (job.clauses.length > 0 && (!stats || !canReadPostings(job, stats.rowCount, limits))) return undefined
  // Only a count tells which end of the list is nearer.
  const offset = 'beside' in place ? 0 : place.page === 'last' ? Number.NaN : (place.page - 1) * job.size
  if (!(offset <= NEAR)) return undefined
  const plan = { count: stats?.count ?? UNKNOWN, driver: stats?.driver, rowCount: stats?.rowCount ?? 0 }
  // Without a row there is no head, so the version of the statistics could not be compared.
  if (stats && isEmpty(stats.count)) return undefined
  reader.visited = 0
  const rows = reader.withBudget(limits.rows, () => readRows(reader, job, limits, plan, { name: 'rows', skipped: offset }))
  const head = parseHead(rows[0]?.at(-1))
  if (!head || (stats && stats.version !== head.version)) return undefined
  const current = stats ?? describeUnfiltered(head)
  const page = buildListPage(job, rows, { count: current.count, offset, isFromEnd: false, hasOthers: rows[0]?.at(-2) === 1 })
  return { page, stats: current, visited: reader.visited }
}

/** Builds the statistics of a list without filters. */
const describeUnfiltered = ({ version, count }: TableHead): FilterStats => ({
  version,
  count,
  driver: undefined,
  isQuick: true,
  rowCount: count.rows,
  visitedForCount: 0,
})

/** Rows before a page up to which it does not matter from which end of the list it is read. */
const NEAR = 2_000
const UNKNOWN: Count = { rows: 0, exact: false }

/** Counts the matches and reads the page. Call it inside a snapshot. */
function readInSnapshot(reader: BoundedReader, job: ListJob, limits: ReadLimits): ReadResult {
  const [[text] = []] = reader.all(getStatement(job, 'head'), [])
  const head = parseHead(text) ?? { version: '', count: { rows: 0, exact: true } }
  if (!canReadPostings(job, head.count.rows, limits)) throw new BudgetExceeded()
  const stats = countMatches(reader, job, limits, describeUnfiltered(head))
  const before = reader.visited
  const page = reader.withBudget(limits.rows, () => readPage(reader, job, limits, stats))
  return { page, stats, visited: reader.visited - before }
}

/** Returns whether the posting lists are short, or were quick to read the last time. */
function canReadPostings({ clauses, stats }: ListJob, rowCount: number, { unseen }: ReadLimits): boolean {
  if (stats?.isQuick) return true
  return rowCount * clauses.reduce((sum, { postings }) => sum + postings, 0) <= unseen.postings
}

function getStatement({ statements }: ListJob, name: string, driver?: number): Statement {
  return statements[driver === undefined ? name : `${name}:${driver}`] as Statement
}

/** Counts the matches, unless the statistics at hand are current. `all` describes the list without filters. */
function countMatches(reader: BoundedReader, job: ListJob, limits: ReadLimits, all: FilterStats): FilterStats {
  if (job.clauses.length === 0) return all
  if (job.stats?.version === all.version) return job.stats
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

/** Chooses the clause that the fewest rows match. A single clause drives if it has an index. Returns undefined if no clause matches few rows. */
function chooseDriver(reader: BoundedReader, job: ListJob): number | undefined {
  const candidates = [...job.clauses.keys()].filter((clause) => job.clauses[clause]?.hasIndex)
  if (job.clauses.length === 1) return candidates[0]
  let [driver, fewest]: [number | undefined, number] = [undefined, MAX_SORTED + 1]
  for (const clause of candidates) {
    const [[rows] = [0]] = reader.all(getStatement(job, 'probe', clause), job.values) as [number][]
    if (rows < fewest) [driver, fewest] = [clause, rows]
  }
  return driver
}

/** Facts that decide how rows are read. */
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
  // The last page has no number if the end of the list is unknown.
  if ('page' in place && place.page === 'last' && !count.exact) return { ...empty, page: 0 }
  const offset = 'page' in place ? (page - 1) * size : 0
  if (count.exact && offset >= count.rows) return empty
  // Read from the nearer end of the list.
  const isFromEnd = count.exact && offset > 0 && offset > count.rows / 2
  const skipped = isFromEnd ? Math.max(0, count.rows - offset - size) : offset
  if (skipped > limits.unseen.rows) throw new BudgetExceeded()
  const rows = readRows(reader, job, limits, plan, { name: isFromEnd ? 'back' : 'rows', skipped })
  // Each row tells whether there are rows on the other side. An empty page needs a statement for that.
  const [first] = rows
  const readOthers = () => ('beside' in place ? readRows(reader, job, limits, plan, { name: 'others', skipped: 0 })[0]?.[0] : undefined)
  return buildListPage(job, rows, { count, offset, isFromEnd, hasOthers: (first ? first.at(-2) : readOthers()) === 1 })
}

/** Runs a statement in the way that visits the fewest rows: walks, and sorts if the walk takes too long. */
function readRows(
  reader: BoundedReader,
  job: ListJob,
  limits: ReadLimits,
  plan: ReadPlan,
  { name, skipped }: { name: 'rows' | 'back' | 'others'; skipped: number },
): unknown[][] {
  const values = 'page' in job.place ? [...job.values, skipped] : job.values
  const sort = () => reader.all(getStatement(job, name, plan.driver ?? findIndexedClause(job)), values)
  const walk = computeWalkLimit(job, limits, plan, skipped)
  if (walk === 0) return sort()
  const end = reader.visited + walk
  let isTooFar = false
  const budget: Budget = (visited) => {
    limits.rows(visited)
    isTooFar = visited > end
    if (isTooFar) throw new BudgetExceeded()
  }
  try {
    return reader.withBudget(budget, () => reader.all(getStatement(job, name), values))
  } catch (error) {
    if (!isTooFar) throw error
    return sort()
  }
}

/** Computes the rows that a walk may visit before sorting takes over. Returns 0 if sorting is better from the start. */
function computeWalkLimit(
  { clauses, size }: ListJob,
  { walk }: ReadLimits,
  { count, rowCount, driver }: ReadPlan,
  skipped: number,
): number {
  if (clauses.length === 0 || !count.exact) return walk
  // Rows that sorting visits. With several clauses, the driver's rows may not match the others; without a driver, it may visit any row.
  const sorted = driver === undefined ? rowCount : clauses.length > 1 ? MAX_SORTED : count.rows
  // Assume that the matches are spread evenly. If they are not, sorting after all costs little more.
  const expected = ((skipped + size) * rowCount) / Math.max(1, count.rows)
  return expected < sorted / 2 ? Math.min(walk, sorted) : count.rows > MAX_SORTED ? walk : 0
}

/** Finds the first clause with an index. Without one, statements without a driver find all matches too. */
function findIndexedClause({ clauses }: ListJob): number | undefined {
  const first = clauses.findIndex(({ hasIndex }) => hasIndex)
  return first < 0 ? undefined : first
}
