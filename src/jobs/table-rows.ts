// Rows of the embedded queue as jobs.
import type { Database } from '../../drizzle/database.ts'
import type { Job, Status } from './queue.ts'

export type JobTable = Database['tables']['jobs']

export const shown = ({ key: _, key_id, request_id, claim: __, leased_until: ___, ...row }: JobTable['$inferSelect']): Job => ({
  ...row,
  status: row.status as Status,
  payload: JSON.parse(row.payload),
  result: row.result === null ? null : JSON.parse(row.result),
  key: key_id,
  request: request_id,
})
