// The envelope of a list, and the links to the pages around it.
import { MAX_CURSOR_LENGTH } from './cursor.ts'
import type { Neighbour, Page } from './list.ts'

/** `url` is the list's own, without a query. */
export function envelope(url: string, { count, exact, rows, next, previous, last, spelling }: Page) {
  const link = (page: number, cursor?: string) => {
    const search = spelling.link(page, cursor)
    return search ? `${url}?${search}` : url
  }
  const to = (neighbour: Neighbour | undefined) => {
    if (!neighbour) return null
    const { page, cursor } = neighbour
    return link(page, cursor.length > MAX_CURSOR_LENGTH ? undefined : cursor)
  }
  const [after, before] = [to(next), to(previous)]
  return {
    body: { count, ...(!exact && { count_exact: false }), next: after, previous: before, results: rows },
    headers: linkHeader({ first: link(1), prev: before, next: after, last: last === undefined ? null : link(last) }),
  }
}

/** Clients and proxies refuse larger headers than some thousand bytes, and the body has the links that count. */
const MAX_LINK_HEADER = 4_000

/** RFC 8288. Nothing where the query is so long that its links would not fit. */
function linkHeader(links: Record<string, string | null>): { link?: string } {
  let link = ''
  for (const rel in links) {
    if (links[rel] !== null) link += `${link && ', '}<${links[rel]}>; rel="${rel}"`
  }
  return link.length > MAX_LINK_HEADER ? {} : { link }
}
