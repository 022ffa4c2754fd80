// The kinds of field: for each what a record shows, what a body may hold, and how a value is written in a URL.
import { type TSchema, type TUnsafe, Type } from '@sinclair/typebox'
import { fromUnits } from '../../drizzle/decimal.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import { describeNotAllowed } from '../did-you-mean.ts'
import { ASCII, acceptsNull, LINE, LINES, MAX_INTEGER, refuseChoice, refuseDefault, refuseDigits, refuseRange } from './field-checks.ts'
import { readNumber, readText, readTime, type UnitRange, type UnitValue, Unreadable } from './values.ts'

export { MAX_INTEGER }

/** How a value is read from a URL, and written back into a link in the one spelling that it has there. */
export interface Codec<T = unknown> {
  /** Throws Unreadable. */
  read(text: string): T
  /** How a client that asks for lenient handling is read, where that differs. Undefined is as if the parameter were absent. */
  readLeniently?(text: string): T | undefined
  write(value: T): string
}

export type Kind = 'text' | 'boolean' | 'integer' | 'decimal' | 'time' | 'reference' | 'json'

/** What is known of a field beyond its JSON Schema. It hangs on the schema under a symbol, where no document shows it. */
export interface Meta<K extends Kind = Kind> {
  kind: K
  codec: Codec<string> | Codec<boolean> | Codec<UnitValue>
  /** What a body may hold. */
  input: TSchema
  nullable: boolean
  /** For a kind whose values have an order. */
  range?: UnitRange
  /** For a reference: the table of which it names a row. */
  target?: ServedName
}

export const meta: unique symbol = Symbol('meta')

/** A field of a contract, whose value in a record is a `T`. */
export type Field<K extends Kind = Kind, T = unknown> = TUnsafe<T> & { [meta]: Meta<K> }

interface FieldOptions {
  description?: string
  /** Set by the service alone. Bodies may have it, so that what was read can be sent back, and it is ignored there. */
  readOnly?: boolean
  examples?: unknown[]
}

const buildField = <K extends Kind, T>(schema: object, input: object, known: Omit<Meta<K>, 'input' | 'nullable'>): Field<K, T> =>
  Object.assign(Type.Unsafe<T>(schema), { [meta]: { ...known, input: Type.Unsafe(input), nullable: false } })

const writePoint = (point: UnitValue) => point.text

export const textCodec: Codec<string> = { read: readText, write: (value) => value }

interface TextFieldOptions extends FieldOptions {
  /** In characters (code points), after trimming. */
  minLength?: number
  maxLength: number
  default?: string
  /** Allows printable ASCII only. */
  ascii?: boolean
  /** Allows newlines and tabs. */
  multiline?: boolean
}

/** Text, trimmed before anything else. Bodies cannot give it control characters, which records from before may have. */
export const text = ({ ascii = false, multiline = false, ...given }: TextFieldOptions): Field<'text', string> => {
  const options = ascii ? { ...given, pattern: ASCII } : given
  const { minLength = 0, maxLength } = options
  refuseRange('a text', 'length', { minimum: minLength, maximum: maxLength })
  refuseDefault('a text', options, (value) => value.trim() === value && [...value].length >= minLength && [...value].length <= maxLength)
  const input = { type: 'string', 'x-trimmed': true, pattern: multiline ? LINES : LINE, ...options }
  return buildField({ type: 'string', ...options }, input, { kind: 'text', codec: textCodec })
}

/** Levels of objects and arrays in a value. */
const MAX_NESTING = 64

/** A value of any shape but null, by its schema. It cannot be filtered or ordered by. */
export const json = <T>(schema: TSchema): Field<'json', T> => {
  // A column stores it as NULL.
  if (acceptsNull(schema)) throw new TypeError('the schema of a json field accepts null: take it out, and write nullable(json(…))')
  return buildField(schema, { ...schema, 'x-nesting': MAX_NESTING }, { kind: 'json', codec: textCodec })
}

/** One of some words. */
export const choice = <const W extends string>(
  words: readonly W[],
  options: FieldOptions & { default?: NoInfer<W> } = {},
): Field<'text', W> => {
  refuseChoice(words)
  refuseDefault('a choice', options, (value) => words.includes(value))
  const schema = { type: 'string', enum: words, ...options }
  const read = (raw: string) => {
    const word = raw.trim()
    if (!words.some((known) => known === word)) throw new Unreadable(describeNotAllowed(word, words))
    return word
  }
  return buildField(schema, schema, { kind: 'text', codec: { read, write: (word: string) => word } })
}

const FLAGS = new Map([
  ['true', true],
  ['1', true],
  ['false', false],
  ['0', false],
])

/** How true and false are written in a URL. */
export const flagCodec: Codec<boolean> = {
  read(text) {
    const flag = FLAGS.get(text.trim().toLowerCase())
    if (flag === undefined) throw new Unreadable({ detail: 'is neither true nor false', allowed: ['true', 'false'] })
    return flag
  },
  write: String,
}

export const boolean = (options: FieldOptions & { default?: boolean } = {}): Field<'boolean', boolean> =>
  buildField({ type: 'boolean', ...options }, { type: 'boolean', ...options }, { kind: 'boolean', codec: flagCodec })

/** A whole number between `minimum` and `maximum`, which are at most 2^53 - 1 apart from 0. */
export const integer = (options: FieldOptions & { minimum: number; maximum: number; default?: number }): Field<'integer', number> => {
  const { minimum, maximum } = options
  refuseRange('an integer', 'range', options)
  refuseDefault('an integer', options, (value) => Number.isInteger(value) && value >= minimum && value <= maximum)
  return buildField(
    { type: 'integer', ...options },
    { type: 'integer', ...options },
    {
      kind: 'integer',
      codec: { read: (raw: string) => readNumber(raw.trim(), 0), write: writePoint },
      range: { min: BigInt(minimum), max: BigInt(maximum), toData: Number },
    },
  )
}

/**
 * A decimal that is never rounded, not negative: `"29.90"` in records, a string or a JSON number in bodies.
 * `precision` counts all of its digits, `scale` those behind the point. Throws a TypeError for more than 15 digits: neither JavaScript
 * nor the codecs of the columns hold those exactly.
 */
export const decimal = ({
  precision,
  scale,
  ...options
}: FieldOptions & { precision: number; scale: number; default?: string }): Field<'decimal', string> => {
  refuseDigits(precision, scale)
  const pattern = `^\\d{1,${precision - scale}}${scale === 0 ? '' : `\\.\\d{${scale}}`}$`
  refuseDefault('a decimal', options, (value) => new RegExp(pattern).test(value))
  return buildField(
    { type: 'string', pattern, ...options },
    {
      type: ['string', 'number'],
      'x-decimal': { precision, scale },
      description: `At most ${precision - scale} digits before the point and ${scale} behind it, not negative`,
      ...options,
    },
    {
      kind: 'decimal',
      codec: { read: (raw: string) => readNumber(raw.trim(), scale), write: writePoint },
      range: { min: 0n, max: 10n ** BigInt(precision) - 1n, toData: (units) => fromUnits(units, scale) },
    },
  )
}

/** A time in UTC, to the millisecond: `"2026-01-31T12:00:00.000Z"`. */
export const time = (options: FieldOptions): Field<'time', string> =>
  buildField(
    { type: 'string', format: 'date-time', ...options },
    { type: 'string', 'x-time': true, ...options },
    {
      kind: 'time',
      codec: { read: (raw: string) => readTime(raw.trim()), write: writePoint },
      range: {
        min: BigInt(Date.parse('0001-01-01T00:00:00.000Z')),
        max: BigInt(Date.parse('9999-12-31T23:59:59.999Z')),
        toData: (units) => new Date(Number(units)).toISOString(),
      },
    },
  )

/** The id of a row of `target`. */
export const reference = (target: ServedName, options: FieldOptions = {}): Field<'reference', number> => {
  const { [meta]: whole, ...schema } = integer({ minimum: 1, maximum: MAX_INTEGER, ...options })
  return buildField(schema, whole.input, { ...whole, kind: 'reference', target })
}

/** The field, or null. A body that leaves it out means null. */
export const nullable = <K extends Kind, T>(of: Field<K, T>): Field<K, T | null> => {
  if ('default' in of) throw new TypeError('a field that can be null has null as its default: leave out the other one')
  const orNull = (schema: TSchema) => Type.Unsafe<T | null>(allowNull(schema))
  return Object.assign(orNull(of), { [meta]: { ...of[meta], input: orNull(of[meta].input), nullable: true } })
}

function allowNull({ readOnly, ...schema }: TSchema): object {
  const rest = { default: null, ...(readOnly !== undefined && { readOnly }) }
  // Beside a list of values a second type allows nothing more.
  if (schema.enum) return { ...schema, type: [schema.type, 'null'].flat(), enum: [...schema.enum, null], ...rest }
  if (schema.type === undefined || 'const' in schema) return { anyOf: [schema, { type: 'null' }], ...rest }
  return { ...schema, type: [schema.type, 'null'].flat(), ...rest }
}

/** What every resource has. */
export const stamps = {
  created_at: time({ readOnly: true, description: 'When it was made' }),
  updated_at: time({ readOnly: true, description: 'When it last changed' }),
  version: integer({ readOnly: true, minimum: 1, maximum: MAX_INTEGER, description: 'Grows with every change' }),
}

export const id = () => integer({ readOnly: true, minimum: 1, maximum: MAX_INTEGER, description: 'Never given to another record' })
