// Validates bodies and the configuration by their JSON Schemas. Finds all faults, not only the first.
import type { TSchema } from '@sinclair/typebox'
import { Ajv2020, type ErrorObject, type FuncKeywordDefinition, type Options } from 'ajv/dist/2020.js'
import type { SchemaValidateFunction } from 'ajv/dist/types/index.js'
import { describeNotAllowed, describeUnknown } from './did-you-mean.ts'
import type { Fault, Reason } from './errors.ts'
import { ASCII, LINE, LINES } from './query/field-checks.ts'
import { readNumber, readText, readTime, Unreadable } from './query/values.ts'

/** Builds a keyword that replaces the value of a member by its canonical form. `read` throws Unreadable for a value without one. */
function buildNormaliser<S>(
  keyword: string,
  type: FuncKeywordDefinition['type'],
  read: (data: string, schema: S) => string,
): FuncKeywordDefinition {
  const validate: SchemaValidateFunction = (schema: S, data: unknown, _parent, place) => {
    try {
      if (place) place.parentData[place.parentDataProperty] = read(readText(String(data)), schema)
      return true
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error
      validate.errors = [{ keyword, message: error.message, params: {} }]
      return false
    }
  }
  // Text is trimmed before its length is checked.
  return { keyword, type, modifying: true, errors: true, validate, ...(type === 'string' && { before: 'maxLength' }) }
}

const keywords = [
  buildNormaliser('x-trimmed', 'string', (text) => text),
  buildNormaliser('x-decimal', ['string', 'number'], readDecimal),
  { keyword: 'x-nesting', errors: true, validate: checkNesting } satisfies FuncKeywordDefinition,
  // Marks a body that can be absent.
  'x-optional',
  buildNormaliser('x-time', 'string', (text) => new Date(Number(readTime(text).floor)).toISOString()),
]

/** Walks level by level, because a deeply nested value would overflow the stack of a recursive function. */
function checkNesting(levels: number, data: unknown): boolean {
  let level = [data]
  for (let depth = 0; depth <= levels; depth++) {
    const containers = level.filter((value): value is object => typeof value === 'object' && value !== null)
    if (containers.length === 0) return true
    level = containers.flatMap((container) => Object.values(container))
  }
  const failed: SchemaValidateFunction = checkNesting
  failed.errors = [{ keyword: 'x-nesting', message: `is nested deeper than ${levels} levels`, params: {} }]
  return false
}

function readDecimal(text: string, { precision, scale }: { precision: number; scale: number }): string {
  const { floor } = readNumber(text, scale)
  const decimals = text.split('.')[1] ?? ''
  if (decimals.length > scale) throw new Unreadable(`has more than ${scale} decimals`)
  if (floor < 0n) throw new Unreadable('must not be negative')
  if (floor >= 10n ** BigInt(precision)) throw new Unreadable(`has more than ${precision - scale} digits before the point`)
  return text
}

/** Ajv does not check the schemas, since it would compile the meta-schema at each start. `test/plugins/schemas.test.ts` checks them. */
const STRICT: Options = {
  meta: false,
  allErrors: true,
  strict: true,
  allowUnionTypes: true,
  validateFormats: false,
  validateSchema: false,
  verbose: true,
  keywords,
}

/** Members of one object in a body. Describing the fault of each takes time. */
export const MAX_MEMBERS = 200

export type Validator = (value: unknown) => Fault[]

/**
 * Returns a validator of bodies, which lists one fault for each place. It replaces texts, decimals and times by their canonical form.
 * It compiles the schema at the first body: compiling every schema at the start took 40 % of the start.
 */
export function compileBody(schema: TSchema): Validator {
  let validate: Validator | undefined
  return (body) => {
    validate ??= compile(new Ajv2020(STRICT), schema)
    return validate(body)
  }
}

/** Compiles a validator of values that are all text, such as environment variables. It converts numbers and fills in defaults. */
export const compileTexts = (schema: TSchema): Validator =>
  compile(new Ajv2020({ ...STRICT, coerceTypes: true, useDefaults: true }), schema)

function compile(ajv: Ajv2020, schema: TSchema): Validator {
  const check = ajv.compile(schema)
  return (value) => {
    if (check(value)) return []
    const faults = (check.errors ?? []).map((error) => describeError(error, schema))
    return [...new Map(faults.map((fault) => ['pointer' in fault ? fault.pointer : '', fault])).values()]
  }
}

/** Characters of an unknown name that a response repeats. Names of members are shorter. */
const MAX_NAME_LENGTH = 100
export const escapePointer = (name: string) => name.slice(0, MAX_NAME_LENGTH).replaceAll('~', '~0').replaceAll('/', '~1')

const TYPES: Record<string, string> = {
  array: 'an array',
  boolean: 'a boolean',
  integer: 'an integer',
  number: 'a number',
  object: 'an object',
  string: 'a string',
}

const formatCount = (limit: unknown, unit: string) => `${limit} ${unit}${limit === 1 ? '' : 's'}`
const atLeast =
  (unit: string) =>
  ({ limit }: Params) => ({ detail: `must have at least ${formatCount(limit, unit)}` })
const atMost =
  (unit: string) =>
  ({ limit }: Params) => ({ detail: `must have at most ${formatCount(limit, unit)}` })

/** Explains why a text does not match a pattern of a field. */
const PATTERNS: Record<string, (text: string) => string> = {
  [ASCII]: () => 'has characters outside ASCII: percent-encode them, and write host names in Punycode',
  [LINE]: (text) => `has the control character ${findControl(text)}: only printable characters are allowed`,
  [LINES]: (text) => `has the control character ${findControl(text)}: besides printable characters only newlines and tabs are allowed`,
}

/** Finds the first control character that is not a newline or tab, or else the first one of all, and formats its code point. */
function findControl(text: string): string {
  const code = (/[^\P{Cc}\t\n\r]/u.exec(text) ?? /\p{Cc}/u.exec(text))?.[0].charCodeAt(0) ?? 0
  return `U+${code.toString(16).toUpperCase().padStart(4, '0')}`
}

type Params = Record<string, unknown>

/** Explains a failed keyword, and names the member at fault. Other keywords have the message of Ajv. */
const EXPLANATIONS: Record<string, (params: Params, schema: TSchema, data: unknown) => Reason & { member?: unknown }> = {
  required: ({ missingProperty }) => ({ member: missingProperty, detail: 'is required' }),
  additionalProperties: ({ additionalProperty }, schema) => {
    const allowed = Object.keys(schema.properties ?? {})
    return { member: additionalProperty, ...describeUnknown('is not known', String(additionalProperty), allowed) }
  },
  type: ({ type }, { examples: [example] = [] }) => {
    const names = [type].flat().map((name) => TYPES[String(name)] ?? String(name))
    return { detail: `must be ${names.join(' or ')}${Array.isArray(example) ? `, such as ${JSON.stringify(example)}` : ''}` }
  },
  pattern: ({ pattern }, { examples: [example] = [] }, text) => ({
    detail:
      PATTERNS[String(pattern)]?.(String(text)) ??
      (example === undefined ? `must match the pattern ${pattern}` : `must have the form of ${JSON.stringify(example)}`),
  }),
  enum: ({ allowedValues }, _schema, value) => describeNotAllowed(value, (allowedValues as unknown[]).map(String)),
  const: ({ allowedValue }) => ({ detail: `must be ${JSON.stringify(allowedValue)}` }),
  minLength: atLeast('character'),
  maxLength: atMost('character'),
  minItems: atLeast('item'),
  maxItems: atMost('item'),
  minProperties: atLeast('member'),
  maxProperties: atMost('member'),
  uniqueItems: () => ({ detail: 'has the same item twice' }),
  minimum: ({ limit }) => ({ detail: `must be at least ${limit}` }),
  maximum: ({ limit }) => ({ detail: `must be at most ${limit}` }),
  exclusiveMinimum: ({ limit }) => ({ detail: `must be more than ${limit}` }),
  exclusiveMaximum: ({ limit }) => ({ detail: `must be less than ${limit}` }),
  multipleOf: ({ multipleOf }) => ({ detail: `must be a multiple of ${multipleOf}` }),
  anyOf: () => ({ detail: 'has none of the allowed shapes' }),
  oneOf: () => ({ detail: 'must have exactly one of the allowed shapes' }),
}

function describeError({ keyword, instancePath, message, params, parentSchema, data }: ErrorObject, schema: TSchema): Fault {
  const { member, ...rest } = EXPLANATIONS[keyword]?.(params, (parentSchema as TSchema | undefined) ?? schema, data) ?? {
    detail: message ?? keyword,
  }
  return { pointer: member === undefined ? instancePath : `${instancePath}/${escapePointer(String(member))}`, ...rest }
}
