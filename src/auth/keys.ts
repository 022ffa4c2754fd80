// API keys as records: made, rotated and revoked.
import { Type } from '@sinclair/typebox'
import { and, eq, gt, isNull, or } from 'drizzle-orm'
import type { Database, Queries } from '../../drizzle/database.ts'
import { indexRows } from '../../drizzle/search.ts'
import { type Actor, COMMAND_LINE, recordChanges } from '../changelog/record.ts'
import { type Fault, invalid, Problem } from '../errors.ts'
import type { Body } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import { buildWriteContext, transact, type WriteContext, withRetry } from '../records/transaction.ts'
import { createRecord, lockRecord, type Precondition, updateLocked } from '../records/write.ts'
import { keys } from '../resources/keys.ts'
import { formatToken, generateSecret, parseToken, sha256 } from './token.ts'

/** The answer to who makes or rotates a key. */
export const IssuedKey = Type.Object(
  {
    ...keys.contract,
    key: Type.Unsafe<string | null>({
      type: ['string', 'null'],
      description:
        'What to send as `Authorization: Bearer …`. It is shown this once: null where the answer to an earlier request is repeated',
    }),
    withheld: Type.Optional(
      Type.Array(Type.String(), { description: 'In such a repeated answer: the members that were left out of what is kept' }),
    ),
  },
  { additionalProperties: false },
)

/** A key as it was made. The token is shown this once. */
export interface KeyWithToken {
  record: Row
  token: string
}

/** Finds what the schema cannot tell of a key. */
export const findKeyFaults = ({ expires_at }: Body): Fault[] =>
  typeof expires_at === 'string' && Date.parse(expires_at) <= Date.now() ? [{ pointer: '/expires_at', detail: 'is past' }] : []

/** Throws `invalid-request` for a key that has expired already. */
export const issueKey = (db: Database, body: Body, actor: Actor): Promise<KeyWithToken> =>
  withRetry(db, () => db.write((tx) => issueWithin(tx, db, body, actor)))

/** The same as part of a transaction. */
export async function issueWithin(tx: Queries, db: Database, body: Body, actor: Actor): Promise<KeyWithToken> {
  const faults = findKeyFaults(body)
  if (faults.length > 0) throw invalid(faults)
  const record = await createRecord(buildWriteContext(tx, db, keys), body, actor)
  return { record, token: await setSecret(tx, db, record.id) }
}

/** Gives the key another secret, and says which. The old one holds no longer. Throws `not-found`, and `key-revoked`. */
export const rotateKey = (db: Database, id: number, actor: Actor): Promise<KeyWithToken> =>
  db.write((tx) => rotateWithin(tx, db, id, actor))

/** The same as part of a transaction. */
export async function rotateWithin(tx: Queries, db: Database, id: number, actor: Actor, expected?: Precondition): Promise<KeyWithToken> {
  const record = await lockRecord(buildWriteContext(tx, db, keys), id, expected)
  if (record.revoked_at !== null) throw new Problem('key-revoked', `The key ${id} was revoked. Make another one.`)
  await recordChanges(tx, db, keys, actor, [
    { operation: 'rotate', record: id, version: Number(record.version), fields: {}, state: record },
  ])
  return { record, token: await setSecret(tx, db, id) }
}

/** Revokes a key, the last admin key too. Does nothing to a key that was revoked before. Throws `not-found`. */
export const revokeKey = (db: Database, id: number, actor: Actor): Promise<Row> =>
  db.write((tx) => revokeWithin(buildWriteContext(tx, db, keys), id, actor))

/** Revokes a key as part of a transaction. */
export async function revokeWithin(context: WriteContext, id: number, actor: Actor, expected?: Precondition): Promise<Row> {
  const current = await lockRecord(context, id, expected)
  return current.revoked_at === null ? updateLocked(context, current, { revoked_at: new Date().toISOString() }, actor) : current
}

/**
 * Runs `change`, a change of the key `id`, in a transaction. Throws `last-admin-key`, and nothing is changed, where it would end the last
 * valid admin key. The table is locked, so that two admin keys cannot revoke each other at the same time.
 */
export const changeUnlessLastAdmin = (db: Database, id: number, change: (context: WriteContext) => Promise<Row>): Promise<Row> =>
  transact(db, keys, async (context) => {
    await db.dialect.lock(context.tx, context.table)
    const before = await lockRecord(context, id)
    const after = await change(context)
    if (isValidAdmin(before) && !isValidAdmin(after) && !(await hasValidAdmin(context.tx, db)))
      throw new Problem(
        'last-admin-key',
        `The key ${id} is the last valid admin key. Make another admin key first, or use "stockroom keys revoke ${id}".`,
      )
    return after
  })

const isValidAdmin = ({ role, revoked_at, expires_at }: Row): boolean =>
  role === 'admin' && revoked_at === null && (expires_at === null || Date.parse(String(expires_at)) > Date.now())

async function hasValidAdmin(tx: Queries, { tables: { keys: table } }: Database): Promise<boolean> {
  const isUnexpired = or(isNull(table.expires_at), gt(table.expires_at, new Date().toISOString()))
  const valid = and(eq(table.role, 'admin'), isNull(table.revoked_at), isUnexpired)
  return (await tx.select({ id: table.id }).from(table).where(valid).limit(1)).length > 0
}

/** Returns the token. */
async function setSecret(tx: Queries, db: Database, id: number, secret = generateSecret()): Promise<string> {
  const { key_secrets } = db.tables
  await tx.delete(key_secrets).where(eq(key_secrets.key, id))
  await tx.insert(key_secrets).values({ key: id, sha256: sha256(secret) })
  return formatToken({ id, secret })
}

/**
 * Makes an admin key in a database that never had a key, or takes `given` (`stk_1_<secret>`) for it. Returns its token; undefined where
 * there are keys.
 */
export function createFirstKey(db: Database, given: string): Promise<string | undefined> {
  const { keys: table } = db.tables
  return db.write(async (tx) => {
    // Of several instances that start together, one makes it.
    await db.dialect.lock(tx, table)
    if ((await tx.select({ id: table.id }).from(table).limit(1)).length > 0) return undefined
    const record = await createRecord(buildWriteContext(tx, db, keys), { name: 'First admin key', role: 'admin' }, COMMAND_LINE)
    const { id, secret } = parseToken(given) ?? { id: record.id, secret: undefined }
    // An attempt that failed may have used up the first id.
    if (id !== record.id) await renumber(tx, db, record, id)
    return setSecret(tx, db, id, secret)
  })
}

async function renumber(tx: Queries, db: Database, record: Row, id: number): Promise<void> {
  const { keys: table, changes } = db.tables
  await tx.delete(table).where(eq(table.id, record.id))
  await tx.insert(table).values({ ...(record as (typeof table)['$inferSelect']), id })
  await indexRows(tx, keys.served, [{ ...record, id }])
  await tx
    .update(changes)
    .set({ record_id: id })
    .where(and(eq(changes.resource, keys.table), eq(changes.record_id, record.id)))
}
