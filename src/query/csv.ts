// Comma-separated values in one parameter.
import { Unreadable } from './values.ts'

/** An item in double quotes, with inner quotes doubled, or an item without quotes, up to the next comma. */
const ITEM = /"((?:[^"]|"")*)"\s*(,|$)|(?!")([^,]*)(,|$)/y
const SPACE = /\s*/y

/** Splits by the rules of CSV (RFC 4180): `a,"b, c"` → `a` and `b, c`. An empty item must be quoted. */
export function splitList(text: string): string[] {
  const items: string[] = []
  for (let start = 0; ; start = ITEM.lastIndex) {
    SPACE.lastIndex = start
    ITEM.lastIndex = start + (SPACE.exec(text)?.[0].length ?? 0)
    const match = ITEM.exec(text)
    if (!match) throw new Unreadable('has a quoted item without a closing quote, or without a comma after it')
    const [, quoted, quotedEnd, bare = '', bareEnd] = match
    const item = quoted?.replaceAll('""', '"') ?? bare.trim()
    if (quoted === undefined && item === '') throw new Unreadable('has an empty item: leave out the comma, or write ""')
    items.push(item)
    if ((quotedEnd ?? bareEnd) === '') return items
  }
}

/** Formats a list in its canonical form: quotes only where they are necessary. */
export const joinList = (items: readonly string[]) =>
  items.map((item) => (/^$|[,"]|^\s|\s$/.test(item) ? `"${item.replaceAll('"', '""')}"` : item)).join(',')
