// Values separated by commas, in one parameter.
import { Unreadable } from './values.ts'

/** An item in double quotes, in which a quote is written twice, or one without: everything up to the comma. */
const ITEM = /"((?:[^"]|"")*)"\s*(,|$)|(?!")([^,]*)(,|$)/y
const SPACE = /\s*/y

/** Splits by CSV's rules (RFC 4180): `a,"b, c"` → `a` and `b, c`. An item that is empty must be quoted. */
export function splitList(text: string): string[] {
  const items: string[] = []
  for (let start = 0; ; start = ITEM.lastIndex) {
    SPACE.lastIndex = start
    ITEM.lastIndex = start + (SPACE.exec(text)?.[0].length ?? 0)
    const match = ITEM.exec(text)
    if (!match) throw new Unreadable('has a quoted item that is followed by something other than a comma, or not closed')
    const [, quoted, quotedEnd, bare = '', bareEnd] = match
    const item = quoted?.replaceAll('""', '"') ?? bare.trim()
    if (quoted === undefined && item === '') throw new Unreadable('has an empty item: leave out the comma, or write ""')
    items.push(item)
    if ((quotedEnd ?? bareEnd) === '') return items
  }
}

/** The one spelling of a list. */
export const joinList = (items: readonly string[]) =>
  items.map((item) => (/^$|[,"]|^\s|\s$/.test(item) ? `"${item.replaceAll('"', '""')}"` : item)).join(',')
