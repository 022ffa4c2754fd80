// Benchmark of the slowest lists: measures how long a client waits for records while others request such lists.
import { brands, findDepartment, frequentWords, listShelves, searchWords } from './catalogue.ts'
import { Child, LOAD_CORE } from './child.ts'
import { LIST } from './kinds.ts'
import type { LoadJob, LoadResult } from './load.ts'
import { createRandom, type Random } from './random.ts'
import type { LoopDelay, Usage } from './serve.ts'

interface Worst {
  lists: LoadResult
  records: LoadResult
  loop: LoopDelay
  /** Bytes. */
  memory: number
}

/** Highest p99 of reading a record meanwhile, in milliseconds. */
export const RECORD_TARGET = 25
/** Longest delay of the event loop, in milliseconds. */
export const LOOP_TARGET = 50

const CONNECTIONS = 16
const URLS = 2_000
const PAGE_SIZE = 20
const LARGE_PAGE = 100
const IN_VALUES = 100
const TERMS = 10

const rarest = brands.slice(-100)
const frequent = brands.slice(0, 20)

interface Bounds {
  random: Random
  rows: number
  /** Number of the last page that certainly exists. */
  deepest: number
}

/** Slow queries. Their values vary, so that no cache of a server answers the next one. */
const worstQueries: readonly ((bounds: Bounds) => string)[] = [
  // Deep pages by number.
  ({ random, deepest }) => `page=${deepest - random.whole(500)}&ordering=name`,
  ({ random, deepest }) => `page=${deepest - random.whole(500)}`,
  // Filters that match almost everything, in another order.
  ({ random }) => `stock__gte=${1 + random.whole(5)}&ordering=name`,
  ({ random }) => `stock__gte=${random.whole(5)}&ordering=-created_at,price`,
  // Filters that match nothing.
  ({ random }) => `price__gt=${99_999 + random.whole(1_000)}`,
  ({ random }) => `brand=nosuch${random.whole(1_000)}`,
  ({ random }) => `stock__lt=-${random.whole(1_000)}`,
  ({ random }) => `price__gt=${99_999 + random.whole(1_000)}&ordering=name`,
  // A selective filter beside an unselective one.
  ({ random }) => `brand=${encodeURIComponent(random.pick(rarest))}&stock__gte=${1 + random.whole(5)}&ordering=price`,
  // Two filters that each match many rows, and together hardly any.
  ({ random }) => {
    const brand = random.pick(frequent)
    const elsewhere = random.pick(listShelves((findDepartment(brand) + 2) % 4))
    return `brand=${encodeURIComponent(brand)}&category=${elsewhere.id}&ordering=price`
  },
  ({ random, rows }) =>
    `id__lt=${Math.floor(rows / 2) - random.whole(1_000)}&created_at__gte=2025-01-02T00:00:${random.whole(50) + 10}Z&ordering=name`,
  // Searches too short for trigrams, and searches with very many matches.
  ({ random }) => `search=${random.pick(['a', 'e', 'sh', 'zq'])}`,
  ({ random }) => `search=${random.pick(['a', 'e', 'sh', 'zq'])}&ordering=-price`,
  ({ random }) => `search=${Array.from({ length: TERMS }, (_, index) => frequentWords[index]).join('+')}&stock__gte=${random.whole(5)}`,
  ({ random }) => `search=${random.pick(frequentWords)}&ordering=-price`,
  ({ random }) => `search=${random.pick(searchWords)}&ordering=name`,
  ({ random, rows }) => `id__in=${Array.from({ length: IN_VALUES }, () => 1 + random.whole(rows)).join()}&ordering=name`,
  ({ random }) => `stock__in=${Array.from({ length: IN_VALUES }, () => random.whole(500)).join()}&ordering=-price`,
  // Negations.
  ({ random }) => `price__gte!=${random.whole(2)}&ordering=stock`,
  ({ random }) => `brand!=${encodeURIComponent(random.pick(frequent))}&ordering=-updated_at`,
]

function buildWorstPaths(rows: number): string[] {
  const random = createRandom(2)
  return Array.from({ length: URLS }, (_, index) => {
    const size = index % 2 === 0 ? PAGE_SIZE : LARGE_PAGE
    const query = worstQueries[random.whole(worstQueries.length)]?.({ random, rows, deepest: Math.floor(rows / 2 / size) })
    return `${LIST}?${query}${size === PAGE_SIZE ? '' : `&page_size=${size}`}`
  })
}

/** Measures the slowest lists. The server is not pinned, so that its reader threads use both cores; the load shares one of them. */
export async function measureWorst(url: string, rows: number, seconds: number): Promise<Worst> {
  const server = await Child.start<string>('server.ts', { url })
  const loads = await Promise.all([0, 1].map(() => Child.start('load.ts', null, LOAD_CORE)))
  try {
    const random = createRandom(3)
    const ids = Array.from({ length: URLS }, () => `${LIST}${1 + random.whole(rows)}/`)
    const jobs: LoadJob[] = [
      { origin: server.ready, connections: CONNECTIONS, seconds, requests: { paths: buildWorstPaths(rows) } },
      { origin: server.ready, connections: 1, seconds, requests: { paths: ids } },
    ]
    await server.call('watchLoop')
    const [lists, records] = await Promise.all(jobs.map((job, index) => loads[index]?.call<LoadResult>('run', job)))
    const loop = await server.call<LoopDelay>('loopDelay')
    const { memory } = await server.call<Usage>('usage')
    if (!lists || !records) throw new Error('The load sent no requests.')
    return { lists, records, loop, memory }
  } finally {
    await Promise.all([server, ...loads].map((child) => child.stop()))
  }
}
