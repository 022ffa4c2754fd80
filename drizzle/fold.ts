// Case folding: the only definition of "the same letter". Both databases store folded text and compare its bytes.

/** Version of the folding. Raise it when `fold` returns another result for any text, and migrations fold all stored text again. */
export const FOLD_VERSION = 2

/**
 * Folds `text` for caseless comparison: Unicode's canonical caseless matching (The Unicode Standard, D145), by code point.
 * `fold('STRASSE') === fold('straße')`, `fold('Σ') === fold('ς')`, and an accented letter equals its decomposed form.
 * The dotless ı differs from i, as in Unicode's default folding.
 */
export function fold(text: string): string {
  if (ASCII.test(text)) return text.toLowerCase()
  return text.normalize('NFD').replace(FOLDABLE, foldCodePoint).normalize('NFC')
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the range is all of ASCII
const ASCII = /^[\x00-\x7f]*$/
// All characters that folding may change. It leaves out ı, whose upper case is I: it would become i.
const FOLDABLE = /[A-Z\u0080-\u0130\u0132-\u{10ffff}]/gu

// Only this order folds every character fully: lower case alone leaves ẞ as ß, and upper case alone loses İ's dot.
// It takes one code point at a time, because the lower case of a whole word depends on context (a final Σ).
function foldCodePoint(character: string): string {
  return character.toLowerCase().toUpperCase().toLowerCase()
}
