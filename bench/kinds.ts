// The kinds of request that are measured, and the ratio to the floor that each is to have.
import { searched } from './catalogue.ts'
import type { Engine } from './databases.ts'
import type { Job } from './load.ts'
import { seeded } from './random.ts'

export const LIST = '/api/products/'

const PAGE_SIZE = 20
/** URLs of one kind, so that it is not one answer that is measured. */
const VARIED = 50
const RECORDS = 1_000

export interface Kind {
  name: string
  /** Which page, where it depends on the number of rows. */
  page?(rows: number): number
  /** What one of the two servers is asked for. It may differ between them: links have what their server puts into them. */
  requests(origin: string, rows: number): Job['requests'] | Promise<Job['requests']>
  /** The two servers write, so each has a database of its own. */
  writes?: true
  /** The least ratio, at the number of rows that it was agreed for. */
  target?: Partial<Record<Engine, number>>
}

export const TARGET_ROWS = 100_000

export const firstPage: Kind = {
  name: 'first page',
  requests: () => ({ paths: [LIST] }),
  target: { sqlite: 0.9, pg: 0.8 },
}

export const filteredPages: readonly string[] = Array.from(
  { length: VARIED },
  (_, index) => `${LIST}?price__gte=${25 + index}&stock__lte=10&ordering=-price`,
)

/** Half down the list of 100,000 products. */
const numberedPage = (rows: number) => Math.min(2_500, Math.ceil(rows / PAGE_SIZE / 2))
/** Nine tenths down a list that is long. */
const linkedPage = (rows: number) => (rows >= 1_000_000 ? 45_000 : numberedPage(rows))

export const nextPage: Kind = {
  name: 'page by next',
  page: linkedPage,
  requests: async (origin, rows) => ({ paths: [await nextOf(origin, linkedPage(rows) - 1)] }),
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
    requests: () => ({ paths: searched.map((word) => `${LIST}?search=${word}`) }),
    target: { sqlite: 0.9 },
  },
  {
    name: 'record',
    requests: (_origin, rows) => {
      const random = seeded(1)
      return { paths: Array.from({ length: RECORDS }, () => `${LIST}${1 + random.whole(rows)}/`) }
    },
    target: { sqlite: 0.9, pg: 0.8 },
  },
  { name: 'create', requests: () => ({ create: LIST }), writes: true, target: { sqlite: 0.8 } },
]

/** Where the `next` link of a page leads. */
async function nextOf(origin: string, page: number): Promise<string> {
  const response = await fetch(`${origin}${LIST}?page=${page}`)
  const { next } = (await response.json()) as { next?: string | null }
  if (!next) throw new Error(`page ${page} has no next link: ${response.status}`)
  const { pathname, search } = new URL(next)
  return pathname + search
}
