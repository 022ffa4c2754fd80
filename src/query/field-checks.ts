// Rejects declarations of fields that no column could hold, or that contradict themselves. Each function throws a TypeError.
import type { TSchema } from '@sinclair/typebox'

/** The largest integer that JSON carries safely (RFC 8259, section 6). */
export const MAX_INTEGER = Number.MAX_SAFE_INTEGER

/** A pattern for printable ASCII. Each character takes one byte, others take up to four. */
export const ASCII = '^[ -~]*$'

/** A pattern for text without control characters (C0, DEL, C1). */
export const LINE = '^[^\\u0000-\\u001f\\u007f-\\u009f]*$'

/** A pattern for text whose only control characters are newline, carriage return and tab. */
export const LINES = '^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f]*$'

/** Digits of a decimal. Its units are a JavaScript number, which is exact up to 2^53: not every 16-digit number is. */
const MAX_PRECISION = 15

const isWithin = (value: number, minimum: number, maximum: number) => Number.isInteger(value) && value >= minimum && value <= maximum

/** Names of tables and fields. In URLs `__` separates a lookup, and PostgreSQL folds unquoted names to lower case. */
const NAME = /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/

export function refuseNames(table: string, singular: string, fields: readonly string[]): void {
  for (const [part, name] of [['table', table], ['singular', singular], ...fields.map((field) => ['field', field] as const)] as const)
    if (!NAME.test(name)) throw new TypeError(`${table}: the ${part} ${name} is not valid: write lower case, with single underscores`)
}

export function refuseDigits(precision: number, scale: number): void {
  if (!isWithin(precision, 1, MAX_PRECISION))
    throw new TypeError(
      `the precision of a decimal is ${precision}: write a whole number from 1 to ${MAX_PRECISION}; more digits would be rounded`,
    )
  if (!isWithin(scale, 0, precision - 1))
    throw new TypeError(`the scale of a decimal of ${precision} digits is ${scale}: write a whole number from 0 to ${precision - 1}`)
}

export function refuseRange(field: string, range: string, { minimum, maximum }: { minimum: number; maximum: number }): void {
  if (!isWithin(minimum, -MAX_INTEGER, MAX_INTEGER) || !isWithin(maximum, minimum, MAX_INTEGER))
    throw new TypeError(
      `the ${range} of ${field} is ${minimum} to ${maximum}: write whole numbers up to ${MAX_INTEGER}, the smaller one first`,
    )
}

export function refuseChoice(words: readonly string[]): void {
  const bad = words.find((word, index) => word === '' || word.trim() !== word || words.indexOf(word) < index)
  if (words.length === 0 || bad !== undefined)
    throw new TypeError(`the words of a choice are ${JSON.stringify(words)}: write one or more, each once, without spaces around it`)
}

export function refuseDefault<T>(field: string, options: { default?: T | undefined }, isValue: (value: T) => boolean): void {
  if (options.default !== undefined && !isValue(options.default))
    throw new TypeError(`the default of ${field} is ${JSON.stringify(options.default)}: write it as a record would show it`)
}

/** Whether null matches the schema. */
export function acceptsNull({ type, anyOf, oneOf, enum: values, ...schema }: TSchema): boolean {
  const parts: TSchema[] | undefined = anyOf ?? oneOf
  if (parts) return parts.some(acceptsNull)
  if (values) return values.includes(null)
  if ('const' in schema) return schema.const === null
  return type === undefined ? !('$ref' in schema || 'allOf' in schema) : [type].flat().includes('null')
}
