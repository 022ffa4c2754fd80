// Splits what is searched for into terms, as DRF 3.18's SearchFilter does.
import type { Codec } from './fields.ts'
import { readText, Unreadable } from './values.ts'

export const MAX_SEARCH_TERMS = 10
/** Characters. A phrase that is not closed is looked for to the end of the text, and again from the next one. */
export const MAX_SEARCH_LENGTH = 1_000

/** Words, and quoted phrases with what touches them; quotes inside a phrase are escaped by a backslash. */
const TOKEN = /(?:[^\s'"]*(?:(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')[^\s'"]*)+)|\S+/gs

/** Characters of what is looked for inside other texts: comparing a longer one at every place of a long text takes too long. */
export const MAX_TERM_LENGTH = 255

/** Counts code points, as JSON Schema's maxLength does. */
const isLonger = (text: string, length: number) => text.length > 2 * length || [...text].length > length

function checkTerm(term: string): string {
  if (isLonger(term, MAX_TERM_LENGTH)) throw new Unreadable(`looks for more than ${MAX_TERM_LENGTH} characters`)
  return term
}

/** For a text that is looked for inside others. */
export const termCodec: Codec<string> = { read: (text) => checkTerm(readText(text)), write: (term) => term }

export interface Search {
  terms: readonly string[]
  text: string
}

/** `red,shirt` and `red shirt` are two terms, `"red shirt"` is one. No term is empty, none is there twice. */
export function readSearch(text: string): Search {
  const trimmed = text.trim()
  if (isLonger(trimmed, MAX_SEARCH_LENGTH)) throw new Unreadable(`has more than ${MAX_SEARCH_LENGTH} characters`)
  const terms = new Set((trimmed.match(TOKEN) ?? []).flatMap(splitToken).filter((term) => term !== ''))
  if (terms.size > MAX_SEARCH_TERMS)
    throw new Unreadable(`has more than ${MAX_SEARCH_TERMS} terms; put a phrase in double quotes to make it one`)
  return { terms: [...terms].map(checkTerm), text: trimmed }
}

function splitToken(token: string): string[] {
  const term = token.replace(/^,+|(?<!,),+$/g, '')
  const [quote = ''] = term
  if (/["']/.test(quote) && term.endsWith(quote)) return [unquote(term.slice(1, -1), quote)]
  return term.split(',').map((part) => part.trim())
}

const unquote = (phrase: string, quote: string) => phrase.replaceAll(`\\${quote}`, quote).replaceAll('\\\\', '\\')
