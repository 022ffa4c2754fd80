// The envelope of a list, and the links to the pages around it.
import type { Codec } from './fields.ts'
import type { Page } from './list.ts'
import { DEFAULT_PAGE_SIZE, type ListQuery } from './params.ts'
import { codec } from './querystring.ts'
import type { Resource } from './resource.ts'

/** The query in its one spelling: parameters by name, each value as its codec writes it, nothing that would be so anyway. */
export function normalise({ list: { querystring, defaultOrder } }: Resource, query: ListQuery): string {
  const write = (name: string, value: unknown) => (querystring.properties[name] as unknown as { [codec]: Codec })[codec].write(value)
  const defaults: ListQuery = { page: 1, page_size: DEFAULT_PAGE_SIZE, ordering: defaultOrder }
  const pairs = Object.entries(query)
    .map(([name, value]): [string, string] => [name, write(name, value)])
    .filter(([name, text]) => !(name in defaults) || text !== write(name, defaults[name]))
  return String(new URLSearchParams(pairs.sort(([a], [b]) => (a < b ? -1 : 1))))
}

/** `url` is the list's own, without a query. */
export function envelope(url: string, resource: Resource, query: ListQuery, { count, page, pages, rows }: Page) {
  const link = (to: number) => {
    const search = normalise(resource, { ...query, page: to })
    return search ? `${url}?${search}` : url
  }
  const next = page < pages ? link(page + 1) : null
  const previous = page > 1 ? link(page - 1) : null
  return {
    body: { count, next, previous, results: rows },
    headers: linkHeader({ first: link(1), prev: previous, next, last: link(pages) }),
  }
}

/** Clients and proxies refuse larger headers than some thousand bytes, and the body has the links that count. */
const MAX_LINK_HEADER = 4_000

/** RFC 8288. Nothing where the query is so long that its links would not fit. */
function linkHeader(links: Record<string, string | null>): { link?: string } {
  const header = Object.entries(links).flatMap(([rel, to]) => (to === null ? [] : [`<${to}>; rel="${rel}"`]))
  const link = header.join(', ')
  return link.length > MAX_LINK_HEADER ? {} : { link }
}
