// Reads the change log in its order. No entry ever appears before one that was read already.
import { getTableColumns, type SQL, sql } from 'drizzle-orm'
import type { Column, Database, Queries } from '../../drizzle/database.ts'
import { cachePerDatabase } from '../../drizzle/per-database.ts'
import { placeholder } from '../../drizzle/statement.ts'
import type { Row } from '../query/rows.ts'
import type { ChangeOperation } from './record.ts'

/** An entry as stored. The feed passes its JSON on without parsing it. */
export interface StoredEntry {
  id: number
  resource: string
  record: number
  operation: ChangeOperation
  version: number
  key: number | null
  request: string | null
  at: string
  /** JSON. */
  fields: string
  reason: string | null
  /** JSON. */
  state: string | null
}

/** An entry without its JSON, which can be large, but with the size of it. */
export interface EntryHead extends Pick<StoredEntry, 'id' | 'resource' | 'record' | 'operation' | 'version' | 'at'> {
  /** Bytes of `fields` and `state`. */
  bytes: number
}

/** An entry of the change log. */
export interface ChangeEntry extends Omit<StoredEntry, 'fields' | 'state'> {
  fields: Record<string, [old: unknown, current: unknown]>
  /** The record after the change, or before its deletion. Null in entries of older versions of the service, which did not store it. */
  state: Row | null
}

/** Source of a query: a transaction, or committed data. */
type ChangeSource = Queries | Pick<Database, 'readRows'>

const run = (on: ChangeSource, query: SQL, values: readonly unknown[]) =>
  'readRows' in on ? on.readRows(query, values) : on.runPrepared(query, values)

/** Number of entries that one statement reads by id. */
const BY_IDS = 100

const getStatements = cachePerDatabase((db, changes: Database['tables']['changes']) => {
  const { logOrder: log } = db.dialect
  const { id, resource, record_id, operation, version, key_id, request_id, at, fields, reason, state } = getTableColumns(changes)
  const columns: Column[] = [id, resource, record_id, operation, version, key_id, request_id, at, fields, reason, state]
  const decode = (column: Column, value: unknown): unknown => (value === null ? null : column.mapFromDriverValue(value))
  const shown = sql.join(columns, sql`, `)
  // Neither engine reads a large text to compute its size.
  const head = sql`${sql.join([id, resource, record_id, operation, version, at], sql`, `)}, octet_length(${fields}) + coalesce(octet_length(${state}), 0)`
  const ids = Array.from({ length: BY_IDS }, (_, place) => placeholder(place))
  const ofRecord = sql`select ${shown} from ${changes} where resource = ${placeholder(0)} and record_id = ${placeholder(1)}`
  return {
    after: sql`select ${shown} from ${changes} where ${log.isAfter(placeholder(0))} and ${log.isSettled} order by ${log.ascending} limit ${placeholder(1)}`,
    of: sql`select ${shown} from ${changes} where ${resource} = ${placeholder(1)} and ${log.isAfter(placeholder(0))} order by ${log.ascending}`,
    headsAfter: sql`select ${head} from ${changes} where ${log.isAfter(placeholder(0))} and ${log.isSettled} order by ${log.ascending} limit ${placeholder(1)}`,
    byIds: sql`select ${shown} from ${changes} where ${id} in (${sql.join(ids, sql`, `)})`,
    newest: sql`select ${head} from ${changes} where ${log.isSettled} order by ${log.descending} limit 1`,
    waiting: sql`select ${at} from ${changes} where not (${log.isSettled}) order by ${log.ascending} limit 1`,
    byId: sql`select ${head} from ${changes} where ${id} = ${placeholder(0)}`,
    history: sql`${ofRecord} and ${version} < ${placeholder(2)} order by ${id} desc limit ${placeholder(3)}`,
    stateAt: sql`${ofRecord} and ${version} = ${placeholder(2)} and ${state} is not null order by ${id} desc limit 1`,
    readTime: (raw: unknown): number => Date.parse(String(decode(at, raw))),
    toHead: ([id, resource, record, operation, version, time, bytes]: readonly unknown[]): EntryHead => ({
      id: Number(id),
      resource: String(resource),
      record: Number(record),
      operation: operation as ChangeOperation,
      version: Number(version),
      at: String(decode(at, time)),
      bytes: Number(bytes),
    }),
    toStored(raw: readonly unknown[]): StoredEntry {
      const [id, resource, record, operation, version, key, request, at, fields, reason, state] = columns.map((column, place) =>
        decode(column, raw[place]),
      )
      return {
        id: Number(id),
        resource: String(resource),
        record: Number(record),
        operation: operation as ChangeOperation,
        version: Number(version),
        key: key as number | null,
        request: request as string | null,
        at: String(at),
        fields: String(fields),
        reason: reason as string | null,
        state: state as string | null,
      }
    },
  }
})

const toEntry = ({ fields, state, ...entry }: StoredEntry): ChangeEntry => ({
  ...entry,
  fields: JSON.parse(fields),
  state: state === null ? null : JSON.parse(state),
})

/** Reads up to `limit` entries after the entry `change`, in order. If that entry was pruned, all entries come after it. */
export async function readEntries(on: Queries, db: Database, change: number, limit: number): Promise<ChangeEntry[]> {
  return (await readStoredEntries(on, db, change, limit)).map(toEntry)
}

/** Reads up to `limit` entries after the entry `change`, in order, without parsing their JSON. */
export async function readStoredEntries(on: ChangeSource, db: Database, change: number, limit: number): Promise<StoredEntry[]> {
  const { after, toStored } = getStatements(db, db.tables.changes)
  return (await run(on, after, [change, limit])).map(toStored)
}

/** Reads all entries of a resource after the entry `change`, also those that others can still precede. */
export async function readUnsettledEntries(on: Queries, db: Database, change: number, resource: string): Promise<ChangeEntry[]> {
  const { of, toStored } = getStatements(db, db.tables.changes)
  return (await on.runPrepared(of, [change, resource])).map((raw) => toEntry(toStored(raw)))
}

/** Returns the id of the last readable entry, or 0 if there is none. */
export const findNewestId = async (on: ChangeSource, db: Database): Promise<number> => (await findNewestEntry(on, db))?.id ?? 0

/** Finds the last readable entry. */
export async function findNewestEntry(on: ChangeSource, db: Database): Promise<EntryHead | undefined> {
  const { newest, toHead } = getStatements(db, db.tables.changes)
  return (await run(on, newest, [])).map(toHead)[0]
}

export async function findEntry(on: ChangeSource, db: Database, id: number): Promise<EntryHead | undefined> {
  const { byId, toHead } = getStatements(db, db.tables.changes)
  return (await run(on, byId, [id])).map(toHead)[0]
}

/** Reads the heads of up to `limit` entries after the entry `change`. */
export async function readHeads(on: ChangeSource, db: Database, change: number, limit: number): Promise<EntryHead[]> {
  const { headsAfter, toHead } = getStatements(db, db.tables.changes)
  return (await run(on, headsAfter, [change, limit])).map(toHead)
}

/** Reads the entries with these ids, in the same order. Skips entries that were pruned meanwhile. */
export async function readEntriesByIds(on: ChangeSource, db: Database, ids: readonly number[]): Promise<StoredEntry[]> {
  const { byIds, toStored } = getStatements(db, db.tables.changes)
  const found = new Map<number, StoredEntry>()
  for (let start = 0; start < ids.length; start += BY_IDS) {
    // The statement has a fixed number of values, so the last id fills the rest.
    const values = Array.from({ length: BY_IDS }, (_, place) => ids[Math.min(start + place, ids.length - 1)])
    for (const raw of await run(on, byIds, values)) {
      const entry = toStored(raw)
      found.set(entry.id, entry)
    }
  }
  return ids.flatMap((id) => found.get(id) ?? [])
}

/** Measures the age of the oldest entry that cannot be read yet, in seconds. An older transaction that is still open holds it back. */
export async function measureLag(db: Database): Promise<number> {
  const { waiting, readTime } = getStatements(db, db.tables.changes)
  const [[at] = []] = await db.readRows(waiting, [])
  return at === undefined ? 0 : Math.max(0, Date.now() - readTime(at)) / 1_000
}

/** Reads up to `limit` entries of a record with a version below `before`, newest first. */
export async function readHistory(
  on: ChangeSource,
  db: Database,
  resource: string,
  record: number,
  before: number,
  limit: number,
): Promise<StoredEntry[]> {
  const { history, toStored } = getStatements(db, db.tables.changes)
  return (await run(on, history, [resource, record, before, limit])).map(toStored)
}

/** Finds the entry that contains the state of a record at a version. */
export async function readStateAt(
  on: ChangeSource,
  db: Database,
  resource: string,
  record: number,
  version: number,
): Promise<ChangeEntry | undefined> {
  const { stateAt, toStored } = getStatements(db, db.tables.changes)
  return (await run(on, stateAt, [resource, record, version])).map(toStored).map(toEntry)[0]
}
