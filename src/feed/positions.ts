// Positions in the feed. A position identifies the entry before it, and cannot be confused with another entry after a restored backup.
import { sql } from 'drizzle-orm'
import type { Database, Queries } from '../../drizzle/database.ts'
import { findEntry, findNewestEntry, type StoredEntry } from '../changelog/read.ts'
import { Problem } from '../errors.ts'
import { digest } from '../http/etags.ts'
import { parameter } from '../query/querystring.ts'
import { Unreadable } from '../query/values.ts'

/** A position after the entry `id`. `check` is a digest of the entry: after a restored backup, another entry may get the id. */
export interface Position {
  id: number
  check: string
}

/** The position before the first entry of all time. */
export const BEGINNING: Position = { id: 0, check: '' }

/** Characters of a check: 48 bits. */
const CHECK_LENGTH = 8
const FORM = new RegExp(`^([1-9]\\d{0,15})-([\\w-]{${CHECK_LENGTH}})$`)

/** The columns of an entry that its position is computed from. */
type PositionSource = Pick<StoredEntry, 'id' | 'resource' | 'record' | 'operation' | 'version' | 'at'>

/** Rows of the table `stockroom_feed`. */
interface Marks {
  /** Position after the last pruned entry. */
  pruned: Position
  /** End of the change log at the last restore of a backup. Checks of positions up to here include its check. */
  restored: Position
}

/** Computes the position after an entry. */
export function computePosition({ id, resource, record, operation, version, at }: PositionSource, { restored }: Marks): Position {
  const parts = [id, resource, record, operation, version, at, ...(id <= restored.id ? [restored.check] : [])]
  return { id, check: digest(JSON.stringify(parts)).slice(0, CHECK_LENGTH) }
}

export const formatPosition = ({ id, check }: Position): string => (id === 0 ? '0' : `${id}-${check}`)

/** Parses a position; undefined for an invalid text. */
export function parsePosition(text: string): Position | undefined {
  if (text === '0') return BEGINNING
  const [, id, check] = FORM.exec(text) ?? []
  return id === undefined || check === undefined ? undefined : { id: Number(id), check }
}

/** Builds the parameter `since`. `absent` describes the default. */
export const buildSinceParameter = (absent: string) =>
  parameter<Position | 'now'>(
    {
      type: 'string',
      pattern: `^(now|0|[1-9]\\d*-[\\w-]{${CHECK_LENGTH}})$`,
      description: `\`position\` of an earlier response, or \`now\` for the current end of the feed. Default: ${absent}.`,
    },
    {
      read(text) {
        const position = text === 'now' ? text : parsePosition(text)
        if (!position) throw new Unreadable('is not a position: copy one from a response, or use now')
        return position
      },
      write: (value) => (value === 'now' ? value : formatPosition(value)),
    },
  )

const MARKS = sql`select name, change, digest from stockroom_feed`

/** Reads the marks from the database or within a transaction. */
export async function readMarks(on: Queries | Pick<Database, 'readRows'>): Promise<Marks> {
  const rows = 'readRows' in on ? await on.readRows(MARKS, []) : await on.runPrepared(MARKS, [])
  const marks = new Map(rows.map(([name, id, check]) => [name, { id: Number(id), check: String(check) }]))
  return { pruned: marks.get('pruned') ?? BEGINNING, restored: marks.get('restored') ?? BEGINNING }
}

/** Records the last pruned entry, in the transaction that prunes it. */
export async function markPruned(tx: Queries, entry: PositionSource): Promise<void> {
  const { id, check } = computePosition(entry, await readMarks(tx))
  await tx.run(sql`insert into stockroom_feed (name, change, digest) values ('pruned', ${id}, ${check})
    on conflict (name) do update set change = excluded.change, digest = excluded.digest`)
}

/** Reads the current end of the feed. */
export async function readEnd(db: Database): Promise<Position> {
  const newest = await findNewestEntry(db, db)
  const marks = await readMarks(db)
  return newest ? computePosition(newest, marks) : marks.pruned
}

/**
 * Throws `position-gone` if entries after a position were pruned, or if it does not belong to this change log. Entries are pruned in their
 * order: if the entry before the position exists, so do all later ones.
 */
export async function checkAvailable(db: Database, { id, check }: Position): Promise<void> {
  const entry = await findEntry(db, db, id)
  // Read after the entry, so that an entry pruned in between is noticed.
  const marks = await readMarks(db)
  const current = entry ? computePosition(entry, marks) : marks.pruned
  if (current.id === id && current.check === check) return
  throw new Problem(
    'position-gone',
    'Changes after this position were pruned, or the database was restored from a backup. Read all records again, then follow the feed from since=now.',
  )
}
