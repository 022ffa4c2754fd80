// Splits the text of a search into terms, as the SearchFilter of Django REST Framework 3.18 does.
import type { Codec } from './fields.ts'
import { readText, Unreadable } from './values.ts'

export const MAX_SEARCH_TERMS = 10
/** Characters. The scan for an unclosed quote runs to the end of the text, once for each quote. */
export const MAX_SEARCH_LENGTH = 1_000

/** A word, or a quoted phrase with the text around it up to the next space. A backslash escapes a quote in a phrase. */
const TOKEN = /(?:[^\s'"]*(?:(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')[^\s'"]*)+)|\S+/gs

/** Characters of a term. Comparing a longer one at every place of a long text takes too long. */
export const MAX_TERM_LENGTH = 255

/** Counts code points, as `maxLength` of JSON Schema does. */
const isLonger = (text: string, length: number) => text.length > 2 * length || [...text].length > length

function checkTerm(term: string): string {
  if (isLonger(term, MAX_TERM_LENGTH)) throw new Unreadable(`has a term of more than ${MAX_TERM_LENGTH} characters`)
  return term
}

/** Codec of a text that is searched for inside other texts. */
export const termCodec: Codec<string> = { read: (text) => checkTerm(readText(text)), write: (term) => term }

export interface Search {
  terms: readonly string[]
  text: string
}

/** Splits a search: `red,shirt` and `red shirt` are two terms, `"red shirt"` is one. Drops empty and repeated terms. */
export function readSearch(text: string): Search {
  const trimmed = text.trim()
  if (isLonger(trimmed, MAX_SEARCH_LENGTH)) throw new Unreadable(`has more than ${MAX_SEARCH_LENGTH} characters`)
  const terms = new Set((trimmed.match(TOKEN) ?? []).flatMap(splitToken).filter((term) => term !== ''))
  if (terms.size > MAX_SEARCH_TERMS)
    throw new Unreadable(`has more than ${MAX_SEARCH_TERMS} terms: put a phrase in double quotes to make it one term`)
  return { terms: [...terms].map(checkTerm), text: trimmed }
}

function splitToken(token: string): string[] {
  const term = token.replace(/^,+|(?<!,),+$/g, '')
  const [quote = ''] = term
  if (/["']/.test(quote) && term.endsWith(quote)) return [unquote(term.slice(1, -1), quote)]
  return term.split(',').map((part) => part.trim())
}

const unquote = (phrase: string, quote: string) => phrase.replaceAll(`\\${quote}`, quote).replaceAll('\\\\', '\\')
