// Reads a query string by the TypeBox object that describes it. The object is in the OpenAPI document as it is; each of its
// properties carries the codec by which it is read.
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

/** What was read: the value of each parameter that was given and is not empty. */
type QueryValues = Readonly<Record<string, unknown>>

/** Characters up to which a query string is remembered as it was read. */
const MAX_CACHED_LENGTH = 1_000
/** Bytes that are kept with it, such as its canonical form, its clauses and its links: for each query, and for each of its characters. */
const CACHED_BYTES = 4_000
const CACHED_BYTES_PER_CHARACTER = 48

/** A client may misspell; nobody means so many parameters. */
const MAX_PARAMETERS = 200

/** Unknown parameters of a request for which a name is suggested. Each is compared with more than a hundred names. */
export const MAX_SUGGESTIONS = 5

type ParsedQuery = { values: QueryValues; faults: Fault[] }

/** How what is unknown is handled (RFC 7240, section 4.4): as a fault, or as Django REST Framework does. */
export type Handling = 'strict' | 'lenient'

/**
 * Returns the reader of a query string. An unknown, a repeated and an unreadable parameter are faults; an empty one is absent. With
 * lenient handling an unknown one is absent too, and some codecs take what they can of a value. A query string that comes again gives
 * the very same values. `suggest` finds the name that was meant.
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

/** Returns the reader of the parameters in a path, which gives undefined where one of them cannot be read: there is nothing at such a URL. */
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

/** The part of a name before its lookup. */
const parseField = (name: string) => name.split('__', 1)[0]?.replace('!', '') ?? ''

/** Returns a function that describes an unknown parameter, and suggests another where `suggested` is true. */
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

/** Clients name any field of the record that a reference leads to, as in `category__name`. `under` goes by its parent, `slug` by its name. */
function findIntendedLookup(name: string, sameField: readonly string[] = [], suggest: typeof findNearest): string | undefined {
  const parseLookup = (parameter: string) => parameter.slice(parseField(name).length + '__'.length).replace('!', '')
  const lookup = parseLookup(name)
  const meant = `${parseField(name)}__${lookup === 'parent' ? 'under' : 'slug'}`
  if (!sameField.includes(meant)) return undefined
  if (lookup === '' || findLookup(lookup) || suggest(lookup, sameField.map(parseLookup))) return undefined
  return name.endsWith('!') ? `${meant}!` : meant
}

/** The names and values of a query string, by the URL Standard's rules for forms (application/x-www-form-urlencoded), but strict. */
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

/** Characters that stand for themselves. */
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

/** Long enough for any name of ours, so that an answer does not grow with what was sent. */
const clip = (name: string) => (name.length > 100 ? `${name.slice(0, 100)}…` : name)
