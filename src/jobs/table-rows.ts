// Rows of the embedded queue as jobs.
import type { Database } from '../../drizzle/database.ts'
import type { Job, Status } from './queue.ts'

export type JobTable = Database['tables']['jobs']

/** The payload of a row, or why it cannot be read. */
export function readPayload(text: string): { payload: unknown; unreadable?: string } {
  try {
    return { payload: JSON.parse(text) }
  } catch (error) {
    return { payload: text, unreadable: `the payload is not JSON: ${(error as Error).message}` }
  }
}

export const shown = ({ key: _, key_id, request_id, claim: __, leased_until: ___, ...row }: JobTable['$inferSelect']): Job => ({
  ...row,
  status: row.status as Status,
  payload: readPayload(row.payload).payload,
  result: row.result === null ? null : JSON.parse(row.result),
  key: key_id,
  request: request_id,
})
