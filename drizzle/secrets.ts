// The secret for signatures. The first migration creates it in the database, so that every instance has the same.
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { Queries } from './database.ts'
import type { DerivedPart } from './migrations.ts'
import { describeColumns } from './schema-parts.ts'

const BYTES = 32

export const secretTable: DerivedPart = {
  name: 'stockroom_secrets',
  isLostInRebuild: false,
  needs: describeColumns('stockroom_secrets', ['name', 'value']),
  statements: ['create table if not exists stockroom_secrets (name text primary key, value text not null)'],
  fill: (tx) =>
    tx.run(
      sql`insert into stockroom_secrets (name, value) values ('cursor', ${randomBytes(BYTES).toString('hex')}) on conflict do nothing`,
    ),
}

/** Returns a function that loads the secret of cursors once, and again after a failure. */
export function createSecretLoader(read: Queries): () => Promise<KeyObject> {
  let secret: Promise<KeyObject> | undefined
  const load = async () => {
    const [row] = await read.all<{ value: string }>(sql`select value from stockroom_secrets where name = 'cursor'`)
    if (!row) throw new Error('stockroom_secrets has no row named cursor')
    return createSecretKey(row.value, 'hex')
  }
  return () => {
    secret ??= load().catch((error) => {
      secret = undefined
      throw error
    })
    return secret
  }
}
