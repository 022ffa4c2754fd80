// What the most expensive lists do to everybody else: while they are asked for, one client reads records and is timed.
import { brands, common, departmentOf, searched, shelvesOf } from './catalogue.ts'
import { Child, LOAD_CORE } from './child.ts'
import { LIST } from './kinds.ts'
import type { Job, Load } from './load.ts'
import { type Random, seeded } from './random.ts'
import type { LoopDelay, Usage } from './serve.ts'

export interface Worst {
  lists: Load
  records: Load
  loop: LoopDelay
  /** Bytes. */
  memory: number
}

/** Milliseconds that another's read may take (99 of 100), and that the event loop may be held. */
export const RECORD_TARGET = 25
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
  /** The last page that is certain to exist, of the size that is asked for. */
  deepest: number
}

/** Each with values that vary, so that what a server remembers of one request does not answer the next. */
const worst: readonly ((bounds: Bounds) => string)[] = [
  // Deep pages by number.
  ({ random, deepest }) => `page=${deepest - random.whole(500)}&ordering=name`,
  ({ random, deepest }) => `page=${deepest - random.whole(500)}`,
  // Filters that keep almost everything, sorted by something else.
  ({ random }) => `stock__gte=${1 + random.whole(5)}&ordering=name`,
  ({ random }) => `stock__gte=${random.whole(5)}&ordering=-created_at,price`,
  // Filters that keep nothing.
  ({ random }) => `price__gt=${99_999 + random.whole(1_000)}`,
  ({ random }) => `brand=nosuch${random.whole(1_000)}`,
  ({ random }) => `stock__lt=-${random.whole(1_000)}`,
  ({ random }) => `price__gt=${99_999 + random.whole(1_000)}&ordering=name`,
  // One that keeps few beside one that keeps most.
  ({ random }) => `brand=${encodeURIComponent(random.pick(rarest))}&stock__gte=${1 + random.whole(5)}&ordering=price`,
  // Two that keep many each, and together hardly any.
  ({ random }) => {
    const brand = random.pick(frequent)
    const elsewhere = random.pick(shelvesOf((departmentOf(brand) + 2) % 4))
    return `brand=${encodeURIComponent(brand)}&category=${elsewhere.id}&ordering=price`
  },
  ({ random, rows }) =>
    `id__lt=${Math.floor(rows / 2) - random.whole(1_000)}&created_at__gte=2025-01-02T00:00:${random.whole(50) + 10}Z&ordering=name`,
  // Searches that an index of trigrams is no help for, and those that find very many.
  ({ random }) => `search=${random.pick(['a', 'e', 'sh', 'zq'])}`,
  ({ random }) => `search=${random.pick(['a', 'e', 'sh', 'zq'])}&ordering=-price`,
  ({ random }) => `search=${Array.from({ length: TERMS }, (_, index) => common[index]).join('+')}&stock__gte=${random.whole(5)}`,
  ({ random }) => `search=${random.pick(common)}&ordering=-price`,
  ({ random }) => `search=${random.pick(searched)}&ordering=name`,
  ({ random, rows }) => `id__in=${Array.from({ length: IN_VALUES }, () => 1 + random.whole(rows)).join()}&ordering=name`,
  ({ random }) => `stock__in=${Array.from({ length: IN_VALUES }, () => random.whole(500)).join()}&ordering=-price`,
  // Negations.
  ({ random }) => `price__gte!=${random.whole(2)}&ordering=stock`,
  ({ random }) => `brand!=${encodeURIComponent(random.pick(frequent))}&ordering=-updated_at`,
]

function worstPaths(rows: number): string[] {
  const random = seeded(2)
  return Array.from({ length: URLS }, (_, index) => {
    const size = index % 2 === 0 ? PAGE_SIZE : LARGE_PAGE
    const query = worst[random.whole(worst.length)]?.({ random, rows, deepest: Math.floor(rows / 2 / size) })
    return `${LIST}?${query}${size === PAGE_SIZE ? '' : `&page_size=${size}`}`
  })
}

/** The server may use both cores, as its reader threads would: the load generators share one of them with it. */
export async function measureWorst(url: string, rows: number, seconds: number): Promise<Worst> {
  const server = await Child.start<string>('server.ts', { url })
  const loads = await Promise.all([0, 1].map(() => Child.start('load.ts', null, LOAD_CORE)))
  try {
    const random = seeded(3)
    const ids = Array.from({ length: URLS }, () => `${LIST}${1 + random.whole(rows)}/`)
    const jobs: Job[] = [
      { origin: server.ready, connections: CONNECTIONS, seconds, requests: { paths: worstPaths(rows) } },
      { origin: server.ready, connections: 1, seconds, requests: { paths: ids } },
    ]
    await server.ask('watchLoop')
    const [lists, records] = await Promise.all(jobs.map((job, index) => loads[index]?.ask<Load>('run', job)))
    const loop = await server.ask<LoopDelay>('loopDelay')
    const { memory } = await server.ask<Usage>('usage')
    if (!lists || !records) throw new Error('nothing was sent')
    return { lists, records, loop, memory }
  } finally {
    await Promise.all([server, ...loads].map((child) => child.stop()))
  }
}
