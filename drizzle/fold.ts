// The only definition of "the same letter". Both databases store what this returns and compare its bytes.

/** Raised when `fold` returns something else for any text: what the databases hold is then folded anew. */
export const FOLD_VERSION = 2

/**
 * Folds `text` for caseless comparison: Unicode's canonical caseless matching (The Unicode Standard, D145), by code point.
 * `fold('STRASSE') === fold('straße')`, `fold('Σ') === fold('ς')`, and an accented letter equals its decomposed form.
 * The dotless ı stays apart from i, as Unicode's default folding has it.
 */
export function fold(text: string): string {
  if (ASCII.test(text)) return text.toLowerCase()
  return text.normalize('NFD').replace(FOLDED, foldCodePoint).normalize('NFC')
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the range is all of ASCII
const ASCII = /^[\x00-\x7f]*$/
// Everything but the rest of ASCII and ı, whose upper case is I: this way round it would become an i.
const FOLDED = /[A-Z\u0080-\u0130\u0132-\u{10ffff}]/gu

// Lower case alone leaves ẞ as ß and upper case alone loses İ's dot: only this order reaches the full folding of each.
// It is applied to one code point at a time, since a whole word's lower case depends on context (a final Σ).
function foldCodePoint(character: string): string {
  return character.toLowerCase().toUpperCase().toLowerCase()
}
