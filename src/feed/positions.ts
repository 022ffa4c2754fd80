// Where in the feed a client is: behind an entry, which the text of the position names so that no other is taken for it.
import { sql } from 'drizzle-orm'
import type { Database, Queries } from '../../drizzle/database.ts'
import { findEntry, findNewestEntry, type StoredEntry } from '../changelog/read.ts'
import { Problem } from '../errors.ts'
import { digest } from '../http/etags.ts'
import { parameter } from '../query/querystring.ts'
import { Unreadable } from '../query/values.ts'

/** Behind the entry with an id. `check` is of its content: after a restore the id may be given to another. */
export interface Position {
  id: number
  check: string
}

/** Before the first entry that there ever was. */
export const BEGINNING: Position = { id: 0, check: '' }

/** Characters of a check: 48 bits. */
const CHECK_LENGTH = 8
const FORM = new RegExp(`^([1-9]\\d{0,15})-([\\w-]{${CHECK_LENGTH}})$`)

/** What a position is made of. */
type PositionSource = Pick<StoredEntry, 'id' | 'resource' | 'record' | 'operation' | 'version' | 'at'>

/** Of the table `stockroom_feed`. */
export interface Marks {
  /** The last entry that was forgotten: what is kept begins behind it. */
  pruned: Position
  /** Up to there, positions have its check in theirs. */
  restored: Position
}

/** The position behind an entry. */
export function computePosition({ id, resource, record, operation, version, at }: PositionSource, { restored }: Marks): Position {
  const named = [id, resource, record, operation, version, at, ...(id <= restored.id ? [restored.check] : [])]
  return { id, check: digest(JSON.stringify(named)).slice(0, CHECK_LENGTH) }
}

export const formatPosition = ({ id, check }: Position): string => (id === 0 ? '0' : `${id}-${check}`)

/** Undefined for what is no position. */
export function parsePosition(text: string): Position | undefined {
  if (text === '0') return BEGINNING
  const [, id, check] = FORM.exec(text) ?? []
  return id === undefined || check === undefined ? undefined : { id: Number(id), check }
}

/** The parameter by which a client says where it is. `absent` is what is meant without it. */
export const buildSinceParameter = (absent: string) =>
  parameter<Position | 'now'>(
    {
      type: 'string',
      pattern: `^(now|0|[1-9]\\d*-[\\w-]{${CHECK_LENGTH}})$`,
      description: `A \`position\` of an earlier answer, or \`now\`: the present end of the feed. Without it: ${absent}`,
    },
    {
      read(text) {
        const position = text === 'now' ? text : parsePosition(text)
        if (!position) throw new Unreadable('is no position: take one from an answer as it is, or write now')
        return position
      },
      write: (value) => (value === 'now' ? value : formatPosition(value)),
    },
  )

const MARKS = sql`select name, change, digest from stockroom_feed`

export async function readMarks(on: Queries | Pick<Database, 'readRows'>): Promise<Marks> {
  const rows = 'readRows' in on ? await on.readRows(MARKS, []) : await on.runPrepared(MARKS, [])
  const marks = new Map(rows.map(([name, id, check]) => [name, { id: Number(id), check: String(check) }]))
  return { pruned: marks.get('pruned') ?? BEGINNING, restored: marks.get('restored') ?? BEGINNING }
}

/** Remembers the last entry that was forgotten, in the transaction that forgets it. */
export async function markPruned(tx: Queries, entry: PositionSource): Promise<void> {
  const { id, check } = computePosition(entry, await readMarks(tx))
  await tx.run(sql`insert into stockroom_feed (name, change, digest) values ('pruned', ${id}, ${check})
    on conflict (name) do update set change = excluded.change, digest = excluded.digest`)
}

/** Behind the last entry that can be read. */
export async function readEnd(db: Database): Promise<Position> {
  const newest = await findNewestEntry(db, db)
  const marks = await readMarks(db)
  return newest ? computePosition(newest, marks) : marks.pruned
}

/**
 * Throws `position-gone` where entries behind a position were forgotten, or it is none of this log. They are forgotten in their order:
 * where one is still there, so is all that comes after it.
 */
export async function checkAvailable(db: Database, { id, check }: Position): Promise<void> {
  const entry = await findEntry(db, db, id)
  // Only now: an entry that was forgotten meanwhile is found to be so.
  const marks = await readMarks(db)
  const known = entry ? computePosition(entry, marks) : marks.pruned
  if (known.id === id && known.check === check) return
  throw new Problem(
    'position-gone',
    'What came after this position is no longer kept, or the database was restored from a backup: read everything anew, from since=now on.',
  )
}
