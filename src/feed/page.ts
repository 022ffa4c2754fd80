// Pages of the feed: the entries after a position that a client may see.
import { setImmediate } from 'node:timers/promises'
import type { Database } from '../../drizzle/database.ts'
import type { ApiKey } from '../auth/keyring.ts'
import { type EntryHead, readEntriesByIds, readHeads, readStoredEntries, type StoredEntry } from '../changelog/read.ts'
import type { Resource } from '../query/resource.ts'
import { BEGINNING, checkAvailable, computePosition, formatPosition, type Position, readMarks } from './positions.ts'

/** Maximum entries that a page filtered by resource scans. */
const MAX_SCANNED = 1_000
/** Entries that are scanned at a time. */
const SLICE = 250
/** Maximum bytes of changes and records on a page. A larger entry gets a page of its own. */
export const MAX_PAGE_BYTES = 1_048_576

/** The client of the feed, and its filter. */
export interface Reader {
  key: ApiKey | null
  /** All resources. Entries of resources that only admins may read are hidden from others. */
  resources: readonly Resource[]
  /** Limits the entries to one resource. */
  resource?: string
}

/** A page. Its entries are JSON: stored JSON is passed on without parsing. */
interface Page {
  results: { position: string; event: string; json: string }[]
  /** Position after the page. */
  position: Position
  /** Whether more entries exist already. */
  more: boolean
}

/** Creates a test for the resources whose entries a client may see. */
function createVisibilityTest({ key, resources, resource }: Reader): (name: string) => boolean {
  const hidden = key?.role === 'admin' ? [] : resources.filter(({ access }) => access.read === 'admin').map(({ table }) => String(table))
  return (name) => (resource === undefined || name === resource) && !hidden.includes(name)
}

/** Returns the author of a change, or nulls. Only admins and the owner of the key may see it. */
const showActor = ({ key, request }: StoredEntry, reader: ApiKey | null) =>
  reader?.role === 'admin' || (key !== null && key === reader?.id) ? { key, request } : { key: null, request: null }

/** Formats the members of an entry that the feed and the history share, as JSON without its braces. */
export function formatMembers(entry: StoredEntry, reader: ApiKey | null): string {
  const { operation, version, at, reason, fields, state } = entry
  const plain = JSON.stringify({ operation, version, at, ...showActor(entry, reader), reason })
  return `${plain.slice(1, -1)},"changes":${fields},"record":${operation === 'delete' ? null : state}`
}

/** Reads up to `size` entries after a position; without one, from the oldest entry. Throws `position-gone`. */
export async function readPage(db: Database, since: Position | undefined, size: number, reader: Reader): Promise<Page> {
  const { chosen, scanned, more } = await chooseEntries(db, since, size, reader)
  const isWhole = chosen.length === scanned.length
  const entries = isWhole
    ? await readStoredEntries(db, db, since?.id ?? BEGINNING.id, chosen.length)
    : await readEntriesByIds(db, db, chosen)
  // Checked after reading: entries pruned in the meantime must not be skipped silently.
  if (since) await checkAvailable(db, since)
  const marks = await readMarks(db)
  const results = entries.map((entry) => {
    const position = formatPosition(computePosition(entry, marks))
    const head = JSON.stringify({ position, resource: entry.resource, id: entry.record })
    return {
      position,
      event: `${entry.resource}.${entry.operation}`,
      json: `${head.slice(0, -1)},${formatMembers(entry, reader.key)}}`,
    }
  })
  // A consumer never goes back, so it must not be told of a change that a power cut can undo.
  await db.awaitDurable()
  const last = scanned.at(-1)
  return { results, position: last ? computePosition(last, marks) : (since ?? marks.pruned), more }
}

interface ChosenEntries {
  /** Ids of the entries of the page. */
  chosen: number[]
  /** All scanned entries. The page ends after the last one. */
  scanned: EntryHead[]
  more: boolean
}

/** Chooses entries by their heads, in slices, so that large or many entries do not block the event loop. */
async function chooseEntries(db: Database, since: Position | undefined, size: number, reader: Reader): Promise<ChosenEntries> {
  const isVisible = createVisibilityTest(reader)
  const limit = reader.resource === undefined ? size : MAX_SCANNED
  const chosen: number[] = []
  const scanned: EntryHead[] = []
  let bytes = 0
  while (scanned.length < limit) {
    if (scanned.length > 0) await setImmediate()
    const slice = Math.min(SLICE, limit - scanned.length)
    // An additional head shows whether another page follows.
    const heads = await readHeads(db, db, scanned.at(-1)?.id ?? since?.id ?? BEGINNING.id, slice + 1)
    for (const head of heads.slice(0, slice)) {
      if (isVisible(head.resource)) {
        bytes += head.bytes
        if (chosen.length === size || (chosen.length > 0 && bytes > MAX_PAGE_BYTES)) return { chosen, scanned, more: true }
        chosen.push(head.id)
      }
      scanned.push(head)
    }
    if (heads.length <= slice) return { chosen, scanned, more: false }
  }
  return { chosen, scanned, more: true }
}
