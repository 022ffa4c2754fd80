// Cursors: the place of a page in its list, signed, so that nobody can make one up and none is taken to another list.
import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto'
import { BYTES_PER_CHARACTER, Memory } from '../../drizzle/memory.ts'
import type { PagePlace } from '../../drizzle/selection.ts'

/** Characters. A link with a longer one goes by its page number alone. */
export const MAX_CURSOR_LENGTH = 4_000

/** Bytes of a signature: 128 bits. */
const SIGNATURE = 16

export type CursorPlace = Extract<PagePlace, { beside: unknown }>

/** What a cursor holds for: the list with its filters and its order, and the page that the link is to. */
export interface CursorScope {
  secret: KeyObject
  list: string
  page: number
}

/** Cursors of a database, both ways: to sign one takes longer than to read a short page, and clients come back with those they were given. */
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

/** The cursor to a place: its signature, then the place as JSON, in base64url. */
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

/** Undefined where the cursor is not one that this scope was signed with. */
export function readCursor(scope: CursorScope, cursor: string): CursorPlace | undefined {
  const { places } = getMemory(scope)
  const known = places.get(buildSignedText(scope, cursor))
  if (known) return known
  const bytes = Buffer.from(cursor, 'base64url')
  // Two spellings of the same bytes would be two cursors to the same place.
  if (bytes.length <= SIGNATURE || bytes.toString('base64url') !== cursor) return undefined
  const payload = bytes.subarray(SIGNATURE).toString()
  if (!timingSafeEqual(bytes.subarray(0, SIGNATURE), sign(scope, payload))) return undefined
  const [flags, ...beside] = JSON.parse(payload) as [number, ...unknown[]]
  const place = { beside, backward: (flags & 1) !== 0, inclusive: (flags & 2) !== 0 }
  places.set(buildSignedText(scope, cursor), place, BYTES_PER_CHARACTER * payload.length)
  return place
}

/** What is signed. No list has a line break in it. */
const buildSignedText = ({ list, page }: CursorScope, payload: string) => `${list}\n${page}\n${payload}`

const sign = (scope: CursorScope, payload: string): Buffer =>
  createHmac('sha256', scope.secret).update(buildSignedText(scope, payload)).digest().subarray(0, SIGNATURE)
