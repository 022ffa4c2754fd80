// Values separated by commas, in one parameter.
import { Unreadable } from './values.ts'

/** An item in double quotes, where a quote is written twice, or one without: everything up to the comma. */
const ITEM = /\s*(?:"((?:[^"]|"")*)"\s*|(?!\s*")([^,]*))(,|$)/y

/** Splits by CSV's rules (RFC 4180): `a,"b, c"` → `a` and `b, c`. An item that is empty must be quoted. */
export function splitList(text: string): string[] {
  const items: string[] = []
  ITEM.lastIndex = 0
  for (;;) {
    const [, quoted, bare = '', end] = ITEM.exec(text) ?? []
    if (end === undefined) throw new Unreadable('has a quoted item that is followed by something other than a comma, or not closed')
    const item = quoted?.replaceAll('""', '"') ?? bare.trim()
    if (quoted === undefined && item === '') throw new Unreadable('has an empty item: leave out the comma, or write ""')
    items.push(item)
    if (end === '') return items
  }
}

/** The one spelling of a list. */
export const joinList = (items: readonly string[]) =>
  items.map((item) => (/^$|[,"]|^\s|\s$/.test(item) ? `"${item.replaceAll('"', '""')}"` : item)).join(',')
