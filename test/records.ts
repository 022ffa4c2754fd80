// Writes records without a server, each in a separate transaction.
import type { Database } from '../drizzle/database.ts'
import { COMMAND_LINE } from '../src/changelog/record.ts'
import type { Body, Resource } from '../src/query/resource.ts'
import type { Row } from '../src/query/rows.ts'
import { transact } from '../src/records/transaction.ts'
import { createRecord, mergeRecord, removeRecord } from '../src/records/write.ts'

export const create = (db: Database, resource: Resource, body: Body): Promise<Row> =>
  transact(db, resource, (context) => createRecord(context, body, COMMAND_LINE))

export const merge = (db: Database, resource: Resource, id: number, body: Body): Promise<Row> =>
  transact(db, resource, (context) => mergeRecord(context, id, body, COMMAND_LINE))

export const remove = (db: Database, resource: Resource, id: number, resources: readonly Resource[]): Promise<Row> =>
  transact(db, resource, (context) => removeRecord(context, id, resources, COMMAND_LINE))
