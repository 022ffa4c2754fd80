// The kinds of field. Each defines the value in records and in bodies, and its form in a URL.
import { type TSchema, type TUnsafe, Type } from '@sinclair/typebox'
import { fromUnits } from '../../drizzle/decimal.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import { describeNotAllowed } from '../did-you-mean.ts'
import { ASCII, acceptsNull, LINE, LINES, MAX_INTEGER, refuseChoice, refuseDefault, refuseDigits, refuseRange } from './field-checks.ts'
import { readNumber, readText, readTime, type UnitRange, type UnitValue, Unreadable } from './values.ts'

export { MAX_INTEGER }

/** Reads a value from a URL, and writes its canonical form into links. */
export interface Codec<T = unknown> {
  /** Throws Unreadable. */
  read(text: string): T
  /** Reads a value with lenient handling, if that differs from `read`. Undefined means that the parameter counts as absent. */
  readLeniently?(text: string): T | undefined
  write(value: T): string
}

export type Kind = 'text' | 'boolean' | 'integer' | 'decimal' | 'time' | 'reference' | 'json'

/** Properties of a field beyond its JSON Schema. They are stored in the schema under a symbol, so the OpenAPI document omits them. */
export interface Meta<K extends Kind = Kind> {
  kind: K
  codec: Codec<string> | Codec<boolean> | Codec<UnitValue>
  /** Schema of the value in bodies. */
  input: TSchema
  nullable: boolean
  /** The range of values, for a kind that has an order. */
  range?: UnitRange
  /** The table that a reference refers to. */
  target?: ServedName
}

export const meta: unique symbol = Symbol('meta')

/** A field of a contract. Its value in a record has the type `T`. */
export type Field<K extends Kind = Kind, T = unknown> = TUnsafe<T> & { [meta]: Meta<K> }

interface FieldOptions {
  description?: string
  /** Only the service sets the field. Bodies can contain it, so that clients can send back a record; it is ignored there. */
  readOnly?: boolean
  examples?: unknown[]
}

const buildField = <K extends Kind, T>(schema: object, input: object, properties: Omit<Meta<K>, 'input' | 'nullable'>): Field<K, T> =>
  Object.assign(Type.Unsafe<T>(schema), { [meta]: { ...properties, input: Type.Unsafe(input), nullable: false } })

const writePoint = (point: UnitValue) => point.text

export const textCodec: Codec<string> = { read: readText, write: (value) => value }

interface TextFieldOptions extends FieldOptions {
  /** Length in code points, after trimming. */
  minLength?: number
  maxLength: number
  default?: string
  /** Allows printable ASCII only. */
  ascii?: boolean
  /** Allows newlines and tabs. */
  multiline?: boolean
}

/** Text, trimmed before any other check. Bodies cannot contain control characters; older records can. */
export const text = ({ ascii = false, multiline = false, ...given }: TextFieldOptions): Field<'text', string> => {
  const options = ascii ? { ...given, pattern: ASCII } : given
  const { minLength = 0, maxLength } = options
  refuseRange('a text', 'length', { minimum: minLength, maximum: maxLength })
  refuseDefault('a text', options, (value) => value.trim() === value && [...value].length >= minLength && [...value].length <= maxLength)
  const input = { type: 'string', 'x-trimmed': true, pattern: multiline ? LINES : LINE, ...options }
  return buildField({ type: 'string', ...options }, input, { kind: 'text', codec: textCodec })
}

/** Levels of objects and arrays in a JSON value. */
const MAX_NESTING = 64

/** A JSON value that matches a schema. Lists cannot filter or order by it. */
export const json = <T>(schema: TSchema): Field<'json', T> => {
  // The column would store a JSON null as NULL.
  if (acceptsNull(schema)) throw new TypeError('the schema of a json field accepts null: take it out, and write nullable(json(…))')
  return buildField(schema, { ...schema, 'x-nesting': MAX_NESTING }, { kind: 'json', codec: textCodec })
}

/** Word of a fixed set. */
export const choice = <const W extends string>(
  words: readonly W[],
  options: FieldOptions & { default?: NoInfer<W> } = {},
): Field<'text', W> => {
  refuseChoice(words)
  refuseDefault('a choice', options, (value) => words.includes(value))
  const schema = { type: 'string', enum: words, ...options }
  const read = (raw: string) => {
    const word = raw.trim()
    if (!words.some((allowed) => allowed === word)) throw new Unreadable(describeNotAllowed(word, words))
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

/** Codec of booleans: `true`, `1`, `false` or `0`. */
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

/** A whole number from `minimum` to `maximum`, which lie within ±(2^53 - 1). */
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
 * An exact decimal from 0: `"29.90"` in records, a string or a JSON number in bodies. `precision` is the number of digits, `scale` the
 * number of decimals. Throws a TypeError for more than 15 digits, which neither JavaScript nor the column codecs hold exactly.
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
      description: `At most ${precision - scale} digits before the decimal point and ${scale} after it, not negative`,
      ...options,
    },
    {
      kind: 'decimal',
      codec: { read: (raw: string) => readNumber(raw.trim(), scale), write: writePoint },
      range: { min: 0n, max: 10n ** BigInt(precision) - 1n, toData: (units) => fromUnits(units, scale) },
    },
  )
}

/** A time in UTC, with milliseconds: `"2026-01-31T12:00:00.000Z"`. */
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

/** The id of a row in the table `target`. */
export const reference = (target: ServedName, options: FieldOptions = {}): Field<'reference', number> => {
  const { [meta]: whole, ...schema } = integer({ minimum: 1, maximum: MAX_INTEGER, ...options })
  return buildField(schema, whole.input, { ...whole, kind: 'reference', target })
}

/** Makes a field nullable. A body without the field sets it to null. */
export const nullable = <K extends Kind, T>(field: Field<K, T>): Field<K, T | null> => {
  if ('default' in field) throw new TypeError('a nullable field has the default null: leave out its other default')
  const orNull = (schema: TSchema) => Type.Unsafe<T | null>(allowNull(schema))
  return Object.assign(orNull(field), { [meta]: { ...field[meta], input: orNull(field[meta].input), nullable: true } })
}

function allowNull({ readOnly, ...schema }: TSchema): object {
  const rest = { default: null, ...(readOnly !== undefined && { readOnly }) }
  // `enum` must contain null too: a second type alone would not allow it.
  if (schema.enum) return { ...schema, type: [schema.type, 'null'].flat(), enum: [...schema.enum, null], ...rest }
  if (schema.type === undefined || 'const' in schema) return { anyOf: [schema, { type: 'null' }], ...rest }
  return { ...schema, type: [schema.type, 'null'].flat(), ...rest }
}

/** Fields of every resource, beside `id`. */
export const stamps = {
  created_at: time({ readOnly: true, description: 'When the record was created' }),
  updated_at: time({ readOnly: true, description: 'When the record last changed' }),
  version: integer({ readOnly: true, minimum: 1, maximum: MAX_INTEGER, description: 'Increases with every change' }),
}

export const id = () => integer({ readOnly: true, minimum: 1, maximum: MAX_INTEGER, description: 'Never reused for another record' })
