// pg-boss' rows as jobs.
import { type Job, LEASE_OVER, type Status } from './queue.ts'

/** What is kept as pg-boss' `data`. */
export interface Data {
  payload: unknown
  key: number | null
  request: string | null
}

/** pg-boss' `data` as what it was made from, or why it cannot be read. */
export function readData(data: unknown): Data & { unreadable?: string } {
  if (typeof data === 'object' && data !== null && 'payload' in data) {
    const { payload, key, request } = data as Data
    return { payload, key, request }
  }
  return { payload: data, key: null, request: null, unreadable: 'the data of the job has no payload' }
}

/** What a job is in the words of the API, by pg-boss' own. */
export const STATUS_OF: Record<string, Status> = {
  created: 'waiting',
  retry: 'waiting',
  active: 'running',
  completed: 'done',
  failed: 'failed',
  cancelled: 'failed',
}

export function shown(row: Record<string, unknown>): Job {
  const { payload, key, request } = readData(row.data)
  const output = row.output as { result?: unknown; message?: string; value?: { message?: string } } | null
  const state = String(row.state)
  const begun = row.started_on !== null
  return {
    id: String(row.id),
    kind: String(row.name),
    status: STATUS_OF[state] ?? 'failed',
    payload,
    attempts: Number(row.retry_count) + (begun ? 1 : 0),
    error: state === 'completed' || !output ? null : (output.message ?? output.value?.message ?? LEASE_OVER),
    result: state === 'completed' ? (output?.result ?? null) : null,
    run_at: time(row.start_after) as string,
    key,
    request,
    created_at: time(row.created_at) as string,
    started_at: time(row.started_on),
    finished_at: time(row.completed_on),
  }
}

const time = (value: unknown): string | null => (value === null || value === undefined ? null : new Date(String(value)).toISOString())
