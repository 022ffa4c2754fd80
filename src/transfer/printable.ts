// Makes text from outside safe to print: a terminal obeys control characters.

/** Control characters, invisible formatting such as a change of writing direction, and separators of lines. */
const CONTROL = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** Replaces each control character with its escape, such as `\u{1b}`. */
export const escapeControls = (text: string): string =>
  text.replaceAll(CONTROL, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)

/** Escapes control characters in a text of several lines, and keeps the line ends. */
export const escapeLines = (text: string): string => text.split('\n').map(escapeControls).join('\n')
