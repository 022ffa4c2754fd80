// A page of the feed: the entries behind a position, as who asks may see them.
import { setImmediate } from 'node:timers/promises'
import type { Database } from '../../drizzle/database.ts'
import type { Key } from '../auth/keyring.ts'
import { type Head, readByIds, readHeads, readStored, type Stored } from '../changelog/read.ts'
import type { Resource } from '../query/resource.ts'
import { BEGINNING, checkKept, marksOf, type Position, positionOf, writePosition } from './positions.ts'

/** Entries that are looked at for one page where only those of one resource are wanted, and at a time. */
const LOOKED_AT = 1_000
const SLICE = 250
/** Bytes of changes and records on a page. A page has at least one entry, however large. */
export const MAX_PAGE_BYTES = 1_048_576

/** Who asks, and for what. */
export interface Reader {
  key: Key | null
  /** All of them: of those that only admins may read, nobody else is told. */
  resources: readonly Resource[]
  /** The only one of which entries are wanted. */
  resource?: string
}

/** A page. Its entries are JSON already: what is stored is only passed on. */
export interface Page {
  results: { position: string; event: string; json: string }[]
  /** From where to go on. */
  position: Position
  /** Whether there is more at once. */
  more: boolean
}

/** Whether the one who asks may see entries of a resource. */
function visible({ key, resources, resource }: Reader): (name: string) => boolean {
  const hidden = key?.role === 'admin' ? [] : resources.filter(({ access }) => access.read === 'admin').map(({ table }) => String(table))
  return (name) => (resource === undefined || name === resource) && !hidden.includes(name)
}

/** What is told of who did it: to admins, and of what was done with the asker's own key. Others learn nothing of each other. */
const doneBy = ({ key, request }: Stored, reader: Key | null) =>
  reader?.role === 'admin' || (key !== null && key === reader?.id) ? { key, request } : { key: null, request: null }

/** The members that an entry has in the feed and in a record's history, as JSON without its braces. */
export function membersOf(entry: Stored, reader: Key | null): string {
  const { operation, version, at, reason, fields, state } = entry
  const plain = JSON.stringify({ operation, version, at, ...doneBy(entry, reader), reason })
  return `${plain.slice(1, -1)},"changes":${fields},"record":${operation === 'delete' ? null : state}`
}

/** Reads up to `size` entries after a position; without one, from the first that is kept. Throws `position-gone`. */
export async function readPage(db: Database, since: Position | undefined, size: number, reader: Reader): Promise<Page> {
  const { chosen, looked, more } = await chooseEntries(db, since, size, reader)
  const isWhole = chosen.length === looked.length
  const entries = isWhole ? await readStored(db, db, since?.id ?? BEGINNING.id, chosen.length) : await readByIds(db, db, chosen)
  // After reading: entries that were pruned meanwhile are not passed over in silence.
  if (since) await checkKept(db, since)
  const marks = await marksOf(db)
  const results = entries.map((entry) => {
    const position = writePosition(positionOf(entry, marks))
    const named = JSON.stringify({ position, resource: entry.resource, id: entry.record })
    return {
      position,
      event: `${entry.resource}.${entry.operation}`,
      json: `${named.slice(0, -1)},${membersOf(entry, reader.key)}}`,
    }
  })
  const last = looked.at(-1)
  return { results, position: last ? positionOf(last, marks) : (since ?? marks.pruned), more }
}

interface Choice {
  /** Ids of the entries of the page. */
  chosen: number[]
  /** All entries that were looked at. The page ends behind the last. */
  looked: Head[]
  more: boolean
}

/** Chooses by the heads of entries, a slice at a time, so that neither large entries nor many of them hold up the event loop. */
async function chooseEntries(db: Database, since: Position | undefined, size: number, reader: Reader): Promise<Choice> {
  const isVisible = visible(reader)
  const limit = reader.resource === undefined ? size : LOOKED_AT
  const chosen: number[] = []
  const looked: Head[] = []
  let bytes = 0
  while (looked.length < limit) {
    if (looked.length > 0) await setImmediate()
    const slice = Math.min(SLICE, limit - looked.length)
    // One more tells whether there is more.
    const heads = await readHeads(db, db, looked.at(-1)?.id ?? since?.id ?? BEGINNING.id, slice + 1)
    for (const head of heads.slice(0, slice)) {
      if (isVisible(head.resource)) {
        bytes += head.bytes
        if (chosen.length === size || (chosen.length > 0 && bytes > MAX_PAGE_BYTES)) return { chosen, looked, more: true }
        chosen.push(head.id)
      }
      looked.push(head)
    }
    if (heads.length <= slice) return { chosen, looked, more: false }
  }
  return { chosen, looked, more: true }
}
