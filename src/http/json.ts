// Reads the JSON of a body, and finds members that are given more than once, of which JSON.parse keeps the last.
import { parse as parseSecurely } from 'secure-json-parse'
import { type Fault, MAX_FAULTS } from '../errors.ts'
import { escapePointer } from '../validate.ts'

const UTF8 = new TextDecoder('utf-8', { fatal: true })

/** Bodies that would change a prototype if they were copied: with a member `__proto__`, or `constructor` with `prototype` in it. */
const poisonedBodies = new WeakSet<object>()
const repeatedPointers = new WeakMap<object, readonly string[]>()

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

export const isPoisoned = (body: unknown): boolean => isObject(body) && poisonedBodies.has(body)

/** Faults of the members that a body gives more than once, at any depth. */
export const listRepeatedMembers = (body: unknown): Fault[] =>
  ((isObject(body) && repeatedPointers.get(body)) || []).map((pointer) => ({ pointer, detail: 'is given more than once' }))

/**
 * Throws a SyntaxError for what is not JSON, and a TypeError for what is not UTF-8: decoded leniently, bytes would be replaced and stored.
 * A poisoned body is let through to validation, which names the member and every other fault where the schema is closed.
 */
export function parseBody(bytes: Uint8Array): unknown {
  const text = UTF8.decode(bytes)
  const value = parseGuarded(text)
  if (isObject(value) && countNames(bytes) !== countMembers(value)) repeatedPointers.set(value, findRepeated(text))
  return value
}

function parseGuarded(text: string): unknown {
  try {
    return parseSecurely(text, { protoAction: 'error', constructorAction: 'error' })
  } catch {
    const value = JSON.parse(text)
    poisonedBodies.add(value)
    return value
  }
}

const [COLON, QUOTE, BACKSLASH, COMMA] = [58, 34, 92, 44]
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = [123, 125, 91, 93]
const isSpace = (byte: number | undefined) => byte === 32 || byte === 9 || byte === 10 || byte === 13

/** Counts quotes that a colon follows. There is one for each name, and perhaps more, inside texts: too many only cost a second look. */
function countNames(bytes: Uint8Array): number {
  let count = 0
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== COLON) continue
    let before = at - 1
    while (isSpace(bytes[before])) before--
    if (bytes[before] === QUOTE) count++
  }
  return count
}

/** Counts the members of all objects in a value. A body may be nested too deeply for a recursive function. */
function countMembers(value: object): number {
  const rest: unknown[] = [value]
  let count = 0
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    if (Array.isArray(next)) {
      for (const item of next) if (isObject(item)) rest.push(item)
      continue
    }
    for (const name in next as object) {
      count++
      const member = (next as Record<string, unknown>)[name]
      if (isObject(member)) rest.push(member)
    }
  }
  return count
}

/** An object with the names that it has so far and whether each was found to be repeated, or an array. */
interface Level {
  names?: Map<string, boolean>
  place: string | number
  expectsName: boolean
}

/** Returns the JSON Pointers of at most MAX_FAULTS members that `text`, which is JSON, gives more than once. */
function findRepeated(text: string): string[] {
  const found = new Set<string>()
  const levels: Level[] = []
  for (let at = 0; at < text.length && found.size < MAX_FAULTS; at++) {
    const code = text.charCodeAt(at)
    const level = levels.at(-1)
    if (code === QUOTE) {
      const end = findStringEnd(text, at)
      if (level?.names && level.expectsName) {
        const name = parseName(text.slice(at, end + 1))
        level.place = name
        level.expectsName = false
        if (level.names.get(name) === false) found.add(buildPointer(levels))
        level.names.set(name, level.names.has(name))
      }
      at = end
    } else if (code === OPEN_OBJECT) levels.push({ names: new Map(), place: '', expectsName: true })
    else if (code === OPEN_ARRAY) levels.push({ place: 0, expectsName: false })
    else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) levels.pop()
    else if (code === COMMA && level) {
      if (typeof level.place === 'number') level.place++
      else level.expectsName = true
    }
  }
  return [...found]
}

const parseName = (text: string): string => (text.includes('\\') ? JSON.parse(text) : text.slice(1, -1))

/** Finds the quote that ends the text that begins at `start`. */
function findStringEnd(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let escapes = 0
    while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++
    if (escapes % 2 === 0) return end
  }
}

/** Characters of a pointer. What lies deeper is named by what it lies in. */
const MAX_POINTER = 1_000

function buildPointer(levels: readonly Level[]): string {
  let pointer = ''
  for (const { place } of levels) {
    const longer = `${pointer}/${escapePointer(String(place))}`
    if (longer.length > MAX_POINTER) break
    pointer = longer
  }
  return pointer
}
