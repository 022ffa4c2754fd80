// Builds the bodies of pages, and the links to the first, previous, next and last page.
import { MAX_CURSOR_LENGTH } from './cursor.ts'
import type { Neighbour, RecordPage } from './list.ts'

/** Media type of a body from `serialisePage`. */
export const PAGE_TYPE = 'application/json; charset=utf-8'

/** Serialises a page of any list. `results` is a JSON array already, because the feed passes on stored JSON without reading it. */
export const serialisePage = (members: { next: string | null }, results: string): string =>
  `${JSON.stringify(members).slice(0, -1)},"results":${results}}`

/** Builds the response with a page of records. `url` is that of the list, without a query. */
export function buildPageResponse(url: string, { count, exact, rows, next, previous, last, canonical: spelling }: RecordPage) {
  const link = (page: number, cursor?: string) => {
    const search = spelling.link(page, cursor)
    return search ? `${url}?${search}` : url
  }
  const linkNeighbour = (neighbour: Neighbour | undefined) => {
    if (!neighbour) return null
    const { page, cursor } = neighbour
    return link(page, cursor.length > MAX_CURSOR_LENGTH ? undefined : cursor)
  }
  const [after, before] = [linkNeighbour(next), linkNeighbour(previous)]
  const members = { count, ...(!exact && { count_exact: false }), next: after, previous: before }
  return {
    body: serialisePage(members, JSON.stringify(rows)),
    headers: buildLinkHeader({ first: link(1), prev: before, next: after, last: last === undefined ? null : link(last) }),
  }
}

/** Clients and proxies refuse headers of more than some thousand bytes. The body has the links that clients need. */
const MAX_LINK_HEADER = 4_000

/** Builds the `Link` header (RFC 8288). Returns no header if the links are longer than MAX_LINK_HEADER. */
function buildLinkHeader(links: Record<string, string | null>): { link?: string } {
  let link = ''
  for (const rel in links) {
    if (links[rel] !== null) link += `${link && ', '}<${links[rel]}>; rel="${rel}"`
  }
  return link.length > MAX_LINK_HEADER ? {} : { link }
}
