// Case folding, the single definition of equal letters, over all of Unicode.
import fc from 'fast-check'
import t from 'tap'
import { fold } from '../../drizzle/fold.ts'

const LAST_CODE_POINT = 0x10ffff
const SURROGATES = { first: 0xd800, last: 0xdfff }

function* codePoints(): Generator<string> {
  for (let point = 0; point <= LAST_CODE_POINT; point++) {
    if (point < SURROGATES.first || point > SURROGATES.last) yield String.fromCodePoint(point)
  }
}

const hex = (text: string) => Array.from(text, (character) => character.codePointAt(0)?.toString(16)).join(' ')

t.test('every code point folds by the rules', async (t) => {
  const rules: Record<string, { holds(character: string, folded: string): boolean; except?: string[] }> = {
    'folding twice changes nothing more': { holds: (_, folded) => fold(folded) === folded },
    'its lower case is the same letter': { holds: (character, folded) => fold(character.toLowerCase()) === folded },
    // Unicode's default folding distinguishes ı and i, although both have the capital I.
    'its upper case is the same letter': { holds: (character, folded) => fold(character.toUpperCase()) === folded, except: ['ı'] },
    'composed and decomposed are the same letter': { holds: (character, folded) => fold(character.normalize('NFD')) === folded },
    'the result is in normal form C': { holds: (_, folded) => folded.normalize('NFC') === folded },
    'the result is never empty': { holds: (_, folded) => folded !== '' },
  }
  const broken = Object.fromEntries(Object.keys(rules).map((rule) => [rule, [] as string[]]))
  for (const character of codePoints()) {
    const folded = fold(character)
    for (const [rule, { holds }] of Object.entries(rules)) if (!holds(character, folded)) broken[rule]?.push(character)
  }
  for (const [rule, { except = [] }] of Object.entries(rules)) t.same(broken[rule]?.map(hex), except.map(hex), rule)
})

t.test('an ASCII letter folds alike with and without a letter beside it', async (t) => {
  for (let point = 0; point < 0x80; point++) {
    const character = String.fromCodePoint(point)
    t.equal(fold(`${character}日`), `${fold(character)}日`, `U+${hex(character)}`)
  }
})

const same: [what: string, ...texts: string[]][] = [
  ['sigma, at the end of a word too', 'Σίσυφος', 'ΣΊΣΥΦΟΣ', 'σίσυφοσ'],
  ['a final sigma alone', 'Σ', 'σ', 'ς'],
  ['sharp s, in all three spellings', 'straße', 'STRASSE', 'STRAẞE', 'strasse'],
  ['the Turkish dotted capital, composed or not', 'İ', 'I\u0307', 'i\u0307'],
  ['an accented letter, composed or not', 'Crème Brûlée', 'CRE\u0300ME BRU\u0302LE\u0301E'],
  ['marks in either order', 'a\u0323\u0301', 'A\u0301\u0323'],
  ['ligatures', 'ﬃ', 'FFI', 'ffi'],
  ['letters that are written like others', '\u212a\u212b\u2126', 'kåω'],
  ['long s', 'ſ', 'S'],
  ['an iota below', 'ᾳ', 'ᾼ', 'ΑΙ'],
  ['an iota below with an accent beside it', 'ᾷ', 'ᾼ\u0342', '\u03b1\u0345\u0342'],
  ['a letter whose capital is three', 'ΐ', '\u0399\u0308\u0301'],
  ['Cherokee, where the capitals are the older letters', 'Ꭰ', 'ꭰ'],
  ['letters beyond the first plane', '𐐀', '𐐨'],
  ['Hangul, composed or not', '한글', '한글'.normalize('NFD')],
]
for (const [what, first, ...rest] of same) {
  t.test(`texts fold to the same: ${what}`, async (t) => {
    for (const text of rest) t.equal(hex(fold(text)), hex(fold(first as string)), text)
  })
}

const different: [what: string, one: string, other: string][] = [
  ['ı and i', 'ı', 'i'],
  ['İ and i', 'İ', 'i'],
  ['e with and without an accent', 'é', 'e'],
  ['a letter and its wide form', 'Ａ', 'A'],
  ['a digit and its superscript', '²', '2'],
  ['Hiragana and Katakana', 'か', 'カ'],
]
for (const [what, one, other] of different) t.not(fold(one), fold(other), `texts fold differently: ${what}`)

/** Letters with unusual case or composition, and any others. */
const letter = fc.oneof(
  fc.constantFrom(
    ...'iIİßẞΣσςᾳᾼΐéÅſﬃŉ',
    '\u0300',
    '\u0301',
    '\u0307',
    '\u0323',
    '\u0327',
    '\u0345',
    '\u05b0',
    '\u1100',
    '\u1161',
    '\u3099',
  ),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
)
const text = fc.array(letter, { maxLength: 8 }).map((letters) => letters.join(''))
const ascii = fc.string({ unit: 'binary-ascii' })

const properties: Record<string, () => void> = {
  'folding twice changes nothing more': () => assert(fc.property(text, (some) => fold(fold(some)) === fold(some))),
  'composed and decomposed are the same text': () => assert(fc.property(text, (some) => fold(some.normalize('NFD')) === fold(some))),
  'ASCII texts fold one by one as they do together': () =>
    assert(fc.property(ascii, ascii, (one, other) => fold(one + other) === fold(one) + fold(other))),
  'of ASCII only the capitals change': () =>
    assert(fc.property(ascii, (some) => fold(some) === some.replace(/[A-Z]/g, (capital) => capital.toLowerCase()))),
}
const assert = <T>(property: fc.IProperty<T>) => fc.assert(property, { numRuns: 5_000 })
for (const [title, check] of Object.entries(properties)) t.test(`folding any text: ${title}`, async () => check())
