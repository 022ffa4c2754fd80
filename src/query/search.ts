// Splits what is searched for into terms, as DRF 3.18's SearchFilter does.
import { textCodec } from './fields.ts'
import { Unreadable } from './values.ts'

export const MAX_SEARCH_TERMS = 10
/** Characters. A phrase that is not closed is looked for to the end of the text, and again from the next one. */
export const MAX_SEARCH_LENGTH = 1_000

/** Words, and quoted phrases with what touches them; quotes inside a phrase are escaped by a backslash. */
const TOKEN = /(?:[^\s'"]*(?:(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')[^\s'"]*)+)|\S+/gs

export interface Search {
  terms: readonly string[]
  text: string
}

/** `red,shirt` and `red shirt` are two terms, `"red shirt"` is one. No term is empty, none is there twice. */
export function readSearch(text: string): Search {
  const trimmed = text.trim()
  if (trimmed.length > MAX_SEARCH_LENGTH) throw new Unreadable(`has more than ${MAX_SEARCH_LENGTH} characters`)
  const terms = new Set((trimmed.match(TOKEN) ?? []).flatMap(termsOf).filter((term) => term !== ''))
  if (terms.size > MAX_SEARCH_TERMS)
    throw new Unreadable(`has more than ${MAX_SEARCH_TERMS} terms; put a phrase in double quotes to make it one`)
  return { terms: [...terms].map(textCodec.read), text: trimmed }
}

function termsOf(token: string): string[] {
  const term = token.replace(/^,+|(?<!,),+$/g, '')
  const [quote = ''] = term
  if (/["']/.test(quote) && term.endsWith(quote)) return [unquote(term.slice(1, -1), quote)]
  return term.split(',').map((part) => part.trim())
}

const unquote = (phrase: string, quote: string) => phrase.replaceAll(`\\${quote}`, quote).replaceAll('\\\\', '\\')
