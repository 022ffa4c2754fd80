// Transactions that write records.
import type { Database, Queries } from '../../drizzle/database.ts'
import type { ServedTable } from '../../drizzle/served.ts'
import type { Resource } from '../query/resource.ts'

/** A transaction, and the resource whose records it writes. */
export interface WriteContext {
  db: Database
  tx: Queries
  resource: Resource
  table: ServedTable
}

export const buildWriteContext = (tx: Queries, db: Database, resource: Resource): WriteContext => ({
  db,
  tx,
  resource,
  table: db.tables[resource.table],
})

const MAX_ATTEMPTS = 3

/**
 * Runs `transaction`, and retries it after a unique or foreign key violation: 3 attempts at most. Another transaction can take a value, or
 * delete a row, between the check and the write. The next attempt finds that row, so its check can name the conflict.
 */
export async function withRetry<T>(db: Database, transaction: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction()
    } catch (error) {
      const failure = db.classifyFailure(error)
      if (attempt === MAX_ATTEMPTS || (failure !== 'unique' && failure !== 'reference')) throw error
    }
  }
}

/** Runs `work` in a transaction that writes records of `resource`, with retries. */
export const transact = <T>(db: Database, resource: Resource, work: (context: WriteContext) => Promise<T>): Promise<T> =>
  withRetry(db, () => db.write((tx) => work(buildWriteContext(tx, db, resource))))
