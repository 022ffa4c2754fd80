// A page of the feed: the entries behind a position, as who asks may see them.
import { setImmediate } from 'node:timers/promises'
import type { Database } from '../../drizzle/database.ts'
import type { ApiKey } from '../auth/keyring.ts'
import { type EntryHead, readEntriesByIds, readHeads, readStoredEntries, type StoredEntry } from '../changelog/read.ts'
import type { Resource } from '../query/resource.ts'
import { BEGINNING, checkAvailable, computePosition, formatPosition, type Position, readMarks } from './positions.ts'

/** Entries that are looked at for one page where only those of one resource are wanted, and at a time. */
const MAX_SCANNED = 1_000
const SLICE = 250
/** Bytes of changes and records on a page. A page has at least one entry, however large. */
export const MAX_PAGE_BYTES = 1_048_576

/** Who asks, and for what. */
export interface Reader {
  key: ApiKey | null
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
function createVisibilityTest({ key, resources, resource }: Reader): (name: string) => boolean {
  const hidden = key?.role === 'admin' ? [] : resources.filter(({ access }) => access.read === 'admin').map(({ table }) => String(table))
  return (name) => (resource === undefined || name === resource) && !hidden.includes(name)
}

/** What is told of who did it: to admins, and of what was done with the asker's own key. Others learn nothing of each other. */
const showActor = ({ key, request }: StoredEntry, reader: ApiKey | null) =>
  reader?.role === 'admin' || (key !== null && key === reader?.id) ? { key, request } : { key: null, request: null }

/** The members that an entry has in the feed and in a record's history, as JSON without its braces. */
export function formatMembers(entry: StoredEntry, reader: ApiKey | null): string {
  const { operation, version, at, reason, fields, state } = entry
  const plain = JSON.stringify({ operation, version, at, ...showActor(entry, reader), reason })
  return `${plain.slice(1, -1)},"changes":${fields},"record":${operation === 'delete' ? null : state}`
}

/** Reads up to `size` entries after a position; without one, from the first that is kept. Throws `position-gone`. */
export async function readPage(db: Database, since: Position | undefined, size: number, reader: Reader): Promise<Page> {
  const { chosen, scanned: looked, more } = await chooseEntries(db, since, size, reader)
  const isWhole = chosen.length === looked.length
  const entries = isWhole
    ? await readStoredEntries(db, db, since?.id ?? BEGINNING.id, chosen.length)
    : await readEntriesByIds(db, db, chosen)
  // After reading: entries that were pruned meanwhile are not passed over in silence.
  if (since) await checkAvailable(db, since)
  const marks = await readMarks(db)
  const results = entries.map((entry) => {
    const position = formatPosition(computePosition(entry, marks))
    const named = JSON.stringify({ position, resource: entry.resource, id: entry.record })
    return {
      position,
      event: `${entry.resource}.${entry.operation}`,
      json: `${named.slice(0, -1)},${formatMembers(entry, reader.key)}}`,
    }
  })
  // A consumer never goes back, so it must not be told of a change that a power cut can undo.
  await db.awaitDurable()
  const last = looked.at(-1)
  return { results, position: last ? computePosition(last, marks) : (since ?? marks.pruned), more }
}

interface Choice {
  /** Ids of the entries of the page. */
  chosen: number[]
  /** All entries that were looked at. The page ends behind the last. */
  scanned: EntryHead[]
  more: boolean
}

/** Chooses by the heads of entries, a slice at a time, so that neither large entries nor many of them hold up the event loop. */
async function chooseEntries(db: Database, since: Position | undefined, size: number, reader: Reader): Promise<Choice> {
  const isVisible = createVisibilityTest(reader)
  const limit = reader.resource === undefined ? size : MAX_SCANNED
  const chosen: number[] = []
  const looked: EntryHead[] = []
  let bytes = 0
  while (looked.length < limit) {
    if (looked.length > 0) await setImmediate()
    const slice = Math.min(SLICE, limit - looked.length)
    // One more tells whether there is more.
    const heads = await readHeads(db, db, looked.at(-1)?.id ?? since?.id ?? BEGINNING.id, slice + 1)
    for (const head of heads.slice(0, slice)) {
      if (isVisible(head.resource)) {
        bytes += head.bytes
        if (chosen.length === size || (chosen.length > 0 && bytes > MAX_PAGE_BYTES)) return { chosen, scanned: looked, more: true }
        chosen.push(head.id)
      }
      looked.push(head)
    }
    if (heads.length <= slice) return { chosen, scanned: looked, more: false }
  }
  return { chosen, scanned: looked, more: true }
}
