// A page of the feed: the entries behind a position, as who asks may see them.
import type { Database } from '../../drizzle/database.ts'
import type { Key } from '../keyring.ts'
import { readStored, type Stored } from '../log.ts'
import type { Resource } from '../query/resource.ts'
import { BEGINNING, checkKept, marksOf, type Position, positionOf, writePosition } from './positions.ts'

/** Entries that are looked at for one page where only those of one resource are wanted. */
const LOOKED_AT = 1_000

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

/**
 * Up to `size` entries behind a position; without one, from the beginning of what is kept. Throws `position-gone`.
 */
export async function readPage(db: Database, since: Position | undefined, size: number, reader: Reader): Promise<Page> {
  const isVisible = visible(reader)
  const limit = reader.resource === undefined ? size : LOOKED_AT
  // One more tells whether there is more.
  const read = await readStored(db, db, since?.id ?? BEGINNING.id, limit + 1)
  // After it: what was forgotten while it was read is not passed over in silence.
  if (since) await checkKept(db, since)
  const marks = await marksOf(db)
  const entries = read.slice(0, limit)
  const results: Page['results'] = []
  let last = since ?? marks.pruned
  let looked = 0
  for (const entry of entries) {
    if (results.length === size) break
    looked++
    last = positionOf(entry, marks)
    if (!isVisible(entry.resource)) continue
    const position = writePosition(last)
    const named = JSON.stringify({ position, resource: entry.resource, id: entry.record })
    results.push({
      position,
      event: `${entry.resource}.${entry.operation}`,
      json: `${named.slice(0, -1)},${membersOf(entry, reader.key)}}`,
    })
  }
  return { results, position: last, more: looked < read.length }
}
