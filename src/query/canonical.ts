// A query in its one spelling: parameters sorted by name, each value as its codec writes it, nothing that would be so anyway.
import type { Codec } from './fields.ts'
import { COUNT_MODES, DEFAULT_PAGE_SIZE, type ListQuery } from './params.ts'
import { codec } from './querystring.ts'
import type { Resource } from './resource.ts'

export interface Spelling {
  /** What decides which records there are, encoded for a URL. */
  filters: string
  /** What decides their order, as it is written in `ordering`. */
  ordering: string
  /** The query of a link to a page of the same list. */
  link(page: number | 'last', cursor?: string): string
}

export function spell({ list: { querystring, filters, defaultOrder } }: Resource, query: ListQuery): Spelling {
  const write = (name: string, value: unknown) => (querystring.properties[name] as unknown as { [codec]: Codec })[codec].write(value)
  const ordering = write('ordering', query.ordering ?? defaultOrder)
  const defaults: ListQuery = { page_size: DEFAULT_PAGE_SIZE, ordering: defaultOrder, count: COUNT_MODES[0] }
  // Links have the cursor and the page between these.
  const parts = { filters: '', head: '', middle: '', tail: '' }
  for (const name of Object.keys(query).sort()) {
    if (name === 'page' || name === 'cursor') continue
    const text = name === 'ordering' ? ordering : write(name, query[name])
    if (name in defaults && text === write(name, defaults[name])) continue
    const pair = `&${encode(name)}=${encode(text)}`
    if (filters.has(name) || name === 'search') parts.filters += pair
    parts[name < 'cursor' ? 'head' : name < 'page' ? 'middle' : 'tail'] += pair
  }
  return {
    filters: parts.filters,
    ordering,
    link(page, cursor) {
      const at = cursor === undefined ? '' : `&cursor=${cursor}`
      const number = page === 1 ? '' : `&page=${page}`
      return (parts.head + at + parts.middle + number + parts.tail).slice(1)
    },
  }
}

/** Characters that stand for themselves in application/x-www-form-urlencoded. */
const PLAIN = /^[\w*.-]*$/

const encode = (text: string) => (PLAIN.test(text) ? text : String(new URLSearchParams([['', text]])).slice(1))
