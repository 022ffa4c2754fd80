// Creates, rotates and revokes API keys.
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

/** Schema of the response to the creation or rotation of a key. */
export const IssuedKey = Type.Object(
  {
    ...keys.contract,
    key: Type.Unsafe<string | null>({
      type: ['string', 'null'],
      description: 'Token to send as `Authorization: Bearer …`. Shown only once: null in a replayed response.',
    }),
    withheld: Type.Optional(Type.Array(Type.String(), { description: 'Members that a replayed response leaves out.' })),
  },
  { additionalProperties: false },
)

/** A key and its token, which cannot be read again later. */
interface KeyWithToken {
  record: Row
  token: string
}

/** Finds faults of a key that the schema cannot express. */
export const findKeyFaults = ({ expires_at }: Body): Fault[] =>
  typeof expires_at === 'string' && Date.parse(expires_at) <= Date.now() ? [{ pointer: '/expires_at', detail: 'is in the past' }] : []

/** Creates a key in a transaction. Throws `invalid-request` if it would already have expired. */
export const issueKey = (db: Database, body: Body, actor: Actor): Promise<KeyWithToken> =>
  withRetry(db, () => db.write((tx) => issueWithin(tx, db, body, actor)))

/** Creates a key within a transaction. Throws `invalid-request` if it would already have expired. */
export async function issueWithin(tx: Queries, db: Database, body: Body, actor: Actor): Promise<KeyWithToken> {
  const faults = findKeyFaults(body)
  if (faults.length > 0) throw invalid(faults)
  const record = await createRecord(buildWriteContext(tx, db, keys), body, actor)
  return { record, token: await setSecret(tx, db, record.id) }
}

/** Replaces the secret of a key in a transaction. The old token becomes invalid. Throws `not-found` and `key-revoked`. */
export const rotateKey = (db: Database, id: number, actor: Actor): Promise<KeyWithToken> =>
  db.write((tx) => rotateWithin(tx, db, id, actor))

/** Replaces the secret of a key within a transaction. Throws `not-found`, `key-revoked` and errors of `precondition`. */
export async function rotateWithin(
  tx: Queries,
  db: Database,
  id: number,
  actor: Actor,
  precondition?: Precondition,
): Promise<KeyWithToken> {
  const record = await lockRecord(buildWriteContext(tx, db, keys), id, precondition)
  if (record.revoked_at !== null) throw new Problem('key-revoked', `Key ${id} is revoked. Create another key.`)
  await recordChanges(tx, db, keys, actor, [
    { operation: 'rotate', record: id, version: Number(record.version), fields: {}, state: record },
  ])
  return { record, token: await setSecret(tx, db, id) }
}

/** Revokes a key in a transaction, even the last admin key. A revoked key stays unchanged. Throws `not-found`. */
export const revokeKey = (db: Database, id: number, actor: Actor): Promise<Row> =>
  db.write((tx) => revokeWithin(buildWriteContext(tx, db, keys), id, actor))

/** Revokes a key within a transaction, even the last admin key. Throws `not-found` and errors of `precondition`. */
export async function revokeWithin(context: WriteContext, id: number, actor: Actor, precondition?: Precondition): Promise<Row> {
  const current = await lockRecord(context, id, precondition)
  return current.revoked_at === null ? updateLocked(context, current, { revoked_at: new Date().toISOString() }, actor) : current
}

/**
 * Runs `change`, which changes key `id`, in a transaction. Throws `last-admin-key` and rolls back if no valid admin key would remain. The
 * table is locked, so that two admin keys cannot revoke each other concurrently.
 */
export const changeUnlessLastAdmin = (db: Database, id: number, change: (context: WriteContext) => Promise<Row>): Promise<Row> =>
  transact(db, keys, async (context) => {
    await db.dialect.lock(context.tx, context.table)
    const before = await lockRecord(context, id)
    const after = await change(context)
    if (isValidAdmin(before) && !isValidAdmin(after) && !(await hasValidAdmin(context.tx, db)))
      throw new Problem(
        'last-admin-key',
        `Key ${id} is the last valid admin key. Create another admin key first, or run "stockroom keys revoke ${id}".`,
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

/** Replaces the secret of a key. Returns the new token. */
async function setSecret(tx: Queries, db: Database, id: number, secret = generateSecret()): Promise<string> {
  const { key_secrets } = db.tables
  await tx.delete(key_secrets).where(eq(key_secrets.key, id))
  await tx.insert(key_secrets).values({ key: id, sha256: sha256(secret) })
  return formatToken({ id, secret })
}

/**
 * Creates the first admin key in a database without keys, with the token `token` (`stk_1_<secret>`) or a generated one. Returns the token;
 * undefined if the database has keys.
 */
export function createFirstKey(db: Database, token: string): Promise<string | undefined> {
  const { keys: table } = db.tables
  return db.write(async (tx) => {
    // Only one of several instances that start together creates the key.
    await db.dialect.lock(tx, table)
    if ((await tx.select({ id: table.id }).from(table).limit(1)).length > 0) return undefined
    const record = await createRecord(buildWriteContext(tx, db, keys), { name: 'First admin key', role: 'admin' }, COMMAND_LINE)
    const { id, secret } = parseToken(token) ?? { id: record.id, secret: undefined }
    // A failed earlier attempt may have used the id.
    if (id !== record.id) await renumber(tx, db, record, id)
    return setSecret(tx, db, id, secret)
  })
}

/** Gives a new key another id. */
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
