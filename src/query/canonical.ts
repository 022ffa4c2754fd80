// Canonical form of a query: parameters sorted, values normalised, defaults omitted. Used for links, cache keys and cursors.
import { COUNT_MODES, DEFAULT_PAGE_SIZE, decidesMatches, LIST_PARAMETERS, type ListQuery } from './params.ts'
import { findCodec } from './querystring.ts'
import type { Resource } from './resource.ts'

export interface CanonicalQuery {
  /** Parameters that decide which records match, URL-encoded. */
  filters: string
  /** Value of `ordering`, or the default order. */
  ordering: string
  /** Builds the query string of a link to a page of the list. */
  link(page: number | 'last', cursor?: string): string
}

/** Parameters that name a page, sorted. */
const POSITIONS: readonly string[] = Object.entries(LIST_PARAMETERS)
  .filter(([, decides]) => decides === 'position')
  .map(([name]) => name)
  .sort()

export function canonicalise({ list: { querystring, defaultOrder } }: Resource, query: ListQuery): CanonicalQuery {
  const write = (name: string, value: unknown) => findCodec(querystring.properties[name]).write(value)
  const ordering = write('ordering', query.ordering ?? defaultOrder)
  const defaults: ListQuery = { page_size: DEFAULT_PAGE_SIZE, ordering: defaultOrder, count: COUNT_MODES[0] }
  // A link inserts the parameters of its position between these parts, so that all are sorted.
  const parts = ['', ...POSITIONS.map(() => '')]
  let filters = ''
  for (const name of Object.keys(query).sort()) {
    if (POSITIONS.includes(name)) continue
    const text = name === 'ordering' ? ordering : write(name, query[name])
    if (name in defaults && text === write(name, defaults[name])) continue
    const pair = `&${encodeParameter(name)}=${encodeParameter(text)}`
    if (decidesMatches(name)) filters += pair
    parts[POSITIONS.filter((position) => position < name).length] += pair
  }
  return {
    filters,
    ordering,
    link(page, cursor) {
      const position: Record<string, string | number | undefined> = { cursor, page: page === 1 ? undefined : page }
      let link = parts[0] as string
      for (const [index, name] of POSITIONS.entries()) {
        if (position[name] !== undefined) link += `&${name}=${position[name]}`
        link += parts[index + 1]
      }
      return link.slice(1)
    },
  }
}

/** Characters that stand for themselves in application/x-www-form-urlencoded. */
const PLAIN = /^[\w*.-]*$/

const encodeParameter = (text: string) => (PLAIN.test(text) ? text : String(new URLSearchParams([['', text]])).slice(1))
