// Parses query strings by a TypeBox object. The OpenAPI document contains the same object; each of its properties carries the codec
// of its parameter.
import { type TObject, type TUnsafe, Type } from '@sinclair/typebox'
import { Memory } from '../../drizzle/memory.ts'
import { findNearest } from '../did-you-mean.ts'
import type { Fault } from '../errors.ts'
import { type Codec, meta } from './fields.ts'
import { findLookup } from './lookups.ts'
import { Unreadable } from './values.ts'

export const codec: unique symbol = Symbol('codec')

/** A parameter of a query string whose value is a `T`. */
export type Parameter<T = unknown> = TUnsafe<T> & { [codec]: Codec<T> }

export const parameter = <T>(schema: object, by: Codec<T>): Parameter<T> => Object.assign(Type.Unsafe<T>(schema), { [codec]: by })

/** A whole number from 1. */
export const numberParameter = (maximum: number, description: string, fallback?: number) =>
  parameter<number>(
    { type: 'integer', minimum: 1, maximum, description, ...(fallback !== undefined && { default: fallback }) },
    {
      read(text) {
        const number = /^\d{1,16}$/.test(text.trim()) ? Number(text) : 0
        if (number < 1 || number > maximum) throw new Unreadable(`must be a whole number from 1 to ${maximum}`)
        return number
      },
      write: String,
    },
  )

/** Values of the parameters that are present and not empty. */
type QueryValues = Readonly<Record<string, unknown>>

/** Longest query string to cache, in characters. */
const MAX_CACHED_LENGTH = 1_000
/** Estimated memory of a cached query with its canonical form, clauses and links, in bytes: fixed, and per character. */
const CACHED_BYTES = 4_000
const CACHED_BYTES_PER_CHARACTER = 48

/** Maximum number of parameters in a query string, known or not. */
const MAX_PARAMETERS = 200

/** Unknown parameters of a request that get a suggestion. Each suggestion compares more than a hundred names. */
export const MAX_SUGGESTIONS = 5

type ParsedQuery = { values: QueryValues; faults: Fault[] }

/** Handling of unknown parameters (RFC 7240, section 4.4): `strict` reports them, `lenient` ignores them as Django REST Framework does. */
export type Handling = 'strict' | 'lenient'

/**
 * Returns a parser of query strings. Unknown, repeated and unreadable parameters are faults; an empty parameter counts as absent. With
 * lenient handling an unknown parameter counts as absent too, and some codecs accept part of a value. A repeated query string returns
 * the same object of values. `suggest` finds the name that the client probably meant.
 */
export function compileQuerystring(schema: TObject, suggest = findNearest): (raw: string, handling?: Handling) => ParsedQuery {
  const codecs = new Map(Object.entries(schema.properties).map(([name, property]) => [name, findCodec(property)]))
  const unknownParameter = buildUnknownDescriber([...codecs.keys()], suggest)
  const known = new Memory<ParsedQuery>()
  return (raw, handling = 'strict') => {
    const key = `${handling} ${raw}`
    let reading = raw.length > MAX_CACHED_LENGTH ? undefined : known.get(key)
    if (!reading) {
      reading = readAll(raw, handling)
      if (reading.faults.length === 0 && raw.length <= MAX_CACHED_LENGTH)
        known.set(key, reading, CACHED_BYTES + CACHED_BYTES_PER_CHARACTER * raw.length)
    }
    return reading
  }

  function readAll(raw: string, handling: Handling): ParsedQuery {
    const { pairs, faults } = decode(raw)
    const values: Record<string, unknown> = {}
    const given = Map.groupBy(pairs, ([name]) => name)
    let unknown = 0
    for (const [name, [[, text = ''] = [], ...others]] of given) {
      const known = codecs.get(name)
      if (!known && handling === 'lenient') continue
      if (known) readInto(values, faults, name, text, handling === 'lenient' ? (known.readLeniently ?? known.read) : known.read)
      else faults.push(unknownParameter(name, unknown++ < MAX_SUGGESTIONS))
      if (others.length > 0) faults.push({ parameter: clip(name), detail: 'is given more than once' })
    }
    return { values: Object.freeze(values), faults }
  }
}

/** Returns a parser of path parameters. It returns undefined for a value that is unreadable: nothing exists at such a URL. */
export function compilePath(schema: TObject): (raw: Record<string, string>) => QueryValues | undefined {
  const codecs = Object.entries(schema.properties).map(([name, property]): [string, Codec] => [name, findCodec(property)])
  return (raw) => {
    try {
      return Object.fromEntries(codecs.map(([name, { read }]) => [name, read(raw[name] ?? '')]))
    } catch (error) {
      if (error instanceof Unreadable) return undefined
      throw error
    }
  }
}

/** Finds the codec of a parameter, which can be a field of a contract. Throws a TypeError for any other schema. */
export function findCodec(property: object = {}): Codec {
  if (codec in property) return property[codec] as Codec
  if (meta in property) return (property[meta] as { codec: Codec }).codec
  throw new TypeError('a parameter needs a codec: make it with parameter() or a field of src/query/fields.ts')
}

function readInto(values: Record<string, unknown>, faults: Fault[], name: string, text: string, read: (text: string) => unknown): void {
  if (text.trim() === '') return
  try {
    const value = read(text)
    if (value !== undefined) values[name] = value
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    faults.push(...error.faults.map((fault) => ({ parameter: name, ...fault })))
  }
}

/** Returns the part of a parameter name before its lookup. */
const parseField = (name: string) => name.split('__', 1)[0]?.replace('!', '') ?? ''

/** Returns a function that describes an unknown parameter, with a suggestion if `suggested` is true. */
function buildUnknownDescriber(names: readonly string[], suggest: typeof findNearest): (name: string, suggested: boolean) => Fault {
  const byField = Map.groupBy(names, parseField)
  const fields = [...byField.keys()]
  if (fields.length === 0) return (name) => ({ parameter: clip(name), detail: 'is not known: this URL takes no parameters' })
  return (name, suggested) => {
    const sameField = byField.get(parseField(name))
    const suggestion = suggested ? (findIntendedLookup(name, sameField, suggest) ?? suggest(name, sameField ?? names)) : undefined
    return {
      parameter: clip(name),
      detail: `is not known${suggestion ? `; did you mean ${suggestion}?` : ''}`,
      allowed: sameField?.filter((known) => !known.endsWith('!')) ?? fields,
      ...(suggestion && { suggestion }),
    }
  }
}

/** Finds the lookup for a field of the referenced record: `under` for `category__parent`, `slug` for others, such as `category__name`. */
function findIntendedLookup(name: string, sameField: readonly string[] = [], suggest: typeof findNearest): string | undefined {
  const parseLookup = (parameter: string) => parameter.slice(parseField(name).length + '__'.length).replace('!', '')
  const lookup = parseLookup(name)
  const meant = `${parseField(name)}__${lookup === 'parent' ? 'under' : 'slug'}`
  if (!sameField.includes(meant)) return undefined
  if (lookup === '' || findLookup(lookup) || suggest(lookup, sameField.map(parseLookup))) return undefined
  return name.endsWith('!') ? `${meant}!` : meant
}

/** Decodes a query string by the rules of application/x-www-form-urlencoded (URL Standard). Invalid encoding is a fault. */
function decode(raw: string): { pairs: [string, string][]; faults: Fault[] } {
  const parts = raw.split('&').filter((part) => part !== '')
  if (parts.length > MAX_PARAMETERS) {
    return { pairs: [], faults: [{ parameter: '', detail: `the query string has more than ${MAX_PARAMETERS} parameters` }] }
  }
  const faults: Fault[] = []
  const pairs = parts.flatMap((part): [string, string][] => {
    const end = part.indexOf('=')
    const [name, value] = end < 0 ? [part, ''] : [part.slice(0, end), part.slice(end + 1)]
    try {
      return [[decodePart(name), decodePart(value)]]
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error
      faults.push(...error.faults.map((fault) => ({ parameter: clip(name), ...fault })))
      return []
    }
  })
  return { pairs, faults }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Text without encoded characters. */
const PLAIN = /^[\w,.*~-]*$/

function decodePart(part: string): string {
  if (PLAIN.test(part)) return part
  if (/%(?![0-9a-fA-F]{2})/.test(part)) throw new Unreadable('has a % that two hexadecimal digits do not follow')
  const bytes = Buffer.from(
    part.replaceAll('+', ' ').replace(/%(..)/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  )
  try {
    const text = UTF8.decode(bytes)
    if (text.includes('\0')) throw new Unreadable('has a NUL character')
    return text
  } catch (error) {
    throw error instanceof Unreadable ? error : new Unreadable('is not UTF-8')
  }
}

/** Shortens a name for a response, so that the response does not grow with the request. All known names are shorter. */
const clip = (name: string) => (name.length > 100 ? `${name.slice(0, 100)}…` : name)
