// Cursors: the position of a page in its list. They are signed, so clients can neither forge one nor use it for another list.
import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto'
import { BYTES_PER_CHARACTER, Memory } from '../../drizzle/memory.ts'
import type { PagePlace } from '../../drizzle/selection.ts'

/** Characters. A link with a longer cursor has only the page number. */
export const MAX_CURSOR_LENGTH = 4_000

/** Bytes of a signature (128 bits). */
const SIGNATURE = 16

export type CursorPlace = Extract<PagePlace, { beside: unknown }>

/** Scope in which a cursor is valid: a list with its filters and order, and the page that the link leads to. */
export interface CursorScope {
  secret: KeyObject
  list: string
  page: number
}

/** Cache of cursors in both directions. Signing takes longer than reading a short page, and clients return recent cursors. */
interface CursorMemory {
  cursors: Memory<string>
  places: Memory<CursorPlace>
}
const memories = new WeakMap<KeyObject, CursorMemory>()

function getMemory({ secret }: CursorScope): CursorMemory {
  let known = memories.get(secret)
  if (!known) {
    known = { cursors: new Memory(), places: new Memory() }
    memories.set(secret, known)
  }
  return known
}

/** Writes the cursor of a place: signature and JSON, in base64url. */
export function writeCursor(scope: CursorScope, place: CursorPlace): string {
  const { cursors, places } = getMemory(scope)
  const payload = JSON.stringify([(place.backward ? 1 : 0) + (place.inclusive ? 2 : 0), ...place.beside])
  const signed = buildSignedText(scope, payload)
  const known = cursors.get(signed)
  if (known !== undefined) return known
  const cursor = Buffer.concat([sign(scope, payload), Buffer.from(payload)]).toString('base64url')
  cursors.set(signed, cursor, BYTES_PER_CHARACTER * cursor.length)
  places.set(buildSignedText(scope, cursor), place, BYTES_PER_CHARACTER * payload.length)
  return cursor
}

/** Reads a cursor. Returns undefined if it was not signed for this scope. */
export function readCursor(scope: CursorScope, cursor: string): CursorPlace | undefined {
  const { places } = getMemory(scope)
  const known = places.get(buildSignedText(scope, cursor))
  if (known) return known
  const bytes = Buffer.from(cursor, 'base64url')
  // Base64url can encode the same bytes in several ways. Only one of them is valid.
  if (bytes.length <= SIGNATURE || bytes.toString('base64url') !== cursor) return undefined
  const payload = bytes.subarray(SIGNATURE).toString()
  if (!timingSafeEqual(bytes.subarray(0, SIGNATURE), sign(scope, payload))) return undefined
  const [flags, ...beside] = JSON.parse(payload) as [number, ...unknown[]]
  const place = { beside, backward: (flags & 1) !== 0, inclusive: (flags & 2) !== 0 }
  places.set(buildSignedText(scope, cursor), place, BYTES_PER_CHARACTER * payload.length)
  return place
}

/** Builds the text to sign. A list contains no line break, so the parts are unambiguous. */
const buildSignedText = ({ list, page }: CursorScope, payload: string) => `${list}\n${page}\n${payload}`

const sign = (scope: CursorScope, payload: string): Buffer =>
  createHmac('sha256', scope.secret).update(buildSignedText(scope, payload)).digest().subarray(0, SIGNATURE)
