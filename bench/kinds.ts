// The kinds of measured requests, and their target ratios to the floor.
import { searchWords } from './catalogue.ts'
import type { Engine } from './databases.ts'
import type { LoadJob } from './load.ts'
import { createRandom } from './random.ts'

export const LIST = '/api/products/'

const PAGE_SIZE = 20
/** URLs per kind, so that no single response is measured. */
const VARIANTS = 50
const RECORDS = 1_000

export interface Kind {
  name: string
  /** Page number, if it depends on the number of rows. */
  page?(rows: number): number
  /** Returns the requests for one server. They can differ between servers, since links do. */
  requests(origin: string, rows: number): LoadJob['requests'] | Promise<LoadJob['requests']>
  /** Requests write, so each server gets its own database. */
  writes?: true
  /** Least ratio at TARGET_ROWS rows. */
  target?: Partial<Record<Engine, number>>
}

export const TARGET_ROWS = 100_000

export const firstPage: Kind = {
  name: 'first page',
  requests: () => ({ paths: [LIST] }),
  target: { sqlite: 0.9, pg: 0.8 },
}

export const filteredPages: readonly string[] = Array.from(
  { length: VARIANTS },
  (_, index) => `${LIST}?price__gte=${25 + index}&stock__lte=10&ordering=-price`,
)

/** Number of a page in the middle of 100,000 products. */
const numberedPage = (rows: number) => Math.min(2_500, Math.ceil(rows / PAGE_SIZE / 2))
/** Number of a page at nine tenths of a long list. */
const linkedPage = (rows: number) => (rows >= 1_000_000 ? 45_000 : numberedPage(rows))

export const nextPage: Kind = {
  name: 'page by next',
  page: linkedPage,
  requests: async (origin, rows) => ({ paths: [await readNextLink(origin, linkedPage(rows) - 1)] }),
}

export const kinds: readonly Kind[] = [
  firstPage,
  { name: 'filtered page', requests: () => ({ paths: filteredPages }), target: { sqlite: 0.9 } },
  {
    name: 'page by number',
    page: numberedPage,
    requests: (_origin, rows) => ({ paths: [`${LIST}?page=${numberedPage(rows)}`] }),
  },
  nextPage,
  {
    name: 'search, one word',
    requests: () => ({ paths: searchWords.map((word) => `${LIST}?search=${word}`) }),
    target: { sqlite: 0.9 },
  },
  {
    name: 'record',
    requests: (_origin, rows) => {
      const random = createRandom(1)
      return { paths: Array.from({ length: RECORDS }, () => `${LIST}${1 + random.whole(rows)}/`) }
    },
    target: { sqlite: 0.9, pg: 0.8 },
  },
  { name: 'create', requests: () => ({ create: LIST }), writes: true, target: { sqlite: 0.8 } },
]

/** Reads the `next` link of a page, as path and query. */
async function readNextLink(origin: string, page: number): Promise<string> {
  const response = await fetch(`${origin}${LIST}?page=${page}`)
  const { next } = (await response.json()) as { next?: string | null }
  if (!next) throw new Error(`Page ${page} has no next link (status ${response.status}).`)
  const { pathname, search } = new URL(next)
  return pathname + search
}
