// Parses JSON bodies and finds repeated members, of which JSON.parse would silently keep the last.
import { parse as parseSecurely } from 'secure-json-parse'
import { type Fault, MAX_FAULTS } from '../errors.ts'
import { escapePointer } from '../validate.ts'

const UTF8 = new TextDecoder('utf-8', { fatal: true })

/** Bodies that could change a prototype when copied: they have a member `__proto__`, or `constructor` with `prototype` in it. */
const poisonedBodies = new WeakSet<object>()
/** JSON Pointers of repeated members, by body. */
const repeatedPointers = new WeakMap<object, readonly string[]>()

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

export const isPoisoned = (body: unknown): boolean => isObject(body) && poisonedBodies.has(body)

/** Lists a fault for each repeated member of a body, at any depth. */
export const listRepeatedMembers = (body: unknown): Fault[] =>
  ((isObject(body) && repeatedPointers.get(body)) || []).map((pointer) => ({ pointer, detail: 'is given more than once' }))

/**
 * Parses a body. Throws a SyntaxError for invalid JSON and a TypeError for invalid UTF-8, whose bytes would otherwise be replaced and stored.
 * A poisoned body is not refused here: validation lists the member together with all other faults.
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

/** Counts quotes before a colon: at least one per member name. Strings can add more, which only costs an unneeded search. */
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

/** Counts the members of all objects in a value. Not recursive, because deep nesting would overflow the stack. */
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

/** An object or array that contains the current position. */
interface Level {
  /** Names of an object so far, and whether each is repeated. Undefined for an array. */
  names?: Map<string, boolean>
  /** Current name or index. */
  place: string | number
  expectsName: boolean
}

/** Finds repeated members in valid JSON. Returns at most MAX_FAULTS JSON Pointers. */
function findRepeated(text: string): string[] {
  const pointers = new Set<string>()
  const levels: Level[] = []
  for (let at = 0; at < text.length && pointers.size < MAX_FAULTS; at++) {
    const code = text.charCodeAt(at)
    const level = levels.at(-1)
    if (code === QUOTE) {
      const end = findStringEnd(text, at)
      if (level?.names && level.expectsName) {
        const name = parseName(text.slice(at, end + 1))
        level.place = name
        level.expectsName = false
        if (level.names.get(name) === false) pointers.add(buildPointer(levels))
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
  return [...pointers]
}

const parseName = (text: string): string => (text.includes('\\') ? JSON.parse(text) : text.slice(1, -1))

/** Finds the closing quote of the string that begins at `start`. */
function findStringEnd(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let escapes = 0
    while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++
    if (escapes % 2 === 0) return end
  }
}

/** Maximum characters of a pointer. A deeper member is reported by an object that contains it. */
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
