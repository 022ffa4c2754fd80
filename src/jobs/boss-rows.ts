// Converts rows of pg-boss to jobs.
import { type Job, LEASE_EXPIRED, type Status } from './queue.ts'

/** The `data` of a pg-boss job. */
export interface BossData {
  payload: unknown
  key: number | null
  request: string | null
}

/** Parses `data`. Other programs can write to the table, so a row without a payload returns `payloadError` instead of throwing. */
export function readData(data: unknown): BossData & { payloadError?: string } {
  if (typeof data === 'object' && data !== null && 'payload' in data) {
    const { payload, key, request } = data as BossData
    return { payload, key, request }
  }
  return { payload: data, key: null, request: null, payloadError: 'The job has no payload.' }
}

/** Status in the API by pg-boss' state. */
export const STATUSES_BY_STATE: Record<string, Status> = {
  created: 'waiting',
  retry: 'waiting',
  active: 'running',
  completed: 'done',
  failed: 'failed',
  cancelled: 'failed',
}

export function toJob(row: Record<string, unknown>): Job {
  const { payload, key, request } = readData(row.data)
  const output = row.output as { result?: unknown; message?: string; value?: { message?: string } } | null
  const state = String(row.state)
  const isStarted = row.started_on !== null
  return {
    id: String(row.id),
    kind: String(row.name),
    status: STATUSES_BY_STATE[state] ?? 'failed',
    payload,
    attempts: Number(row.retry_count) + (isStarted ? 1 : 0),
    error: state === 'completed' || !output ? null : (output.message ?? output.value?.message ?? LEASE_EXPIRED),
    result: state === 'completed' ? (output?.result ?? null) : null,
    run_at: formatTime(row.start_after) as string,
    key,
    request,
    created_at: formatTime(row.created_at) as string,
    started_at: formatTime(row.started_on),
    finished_at: formatTime(row.completed_on),
  }
}

const formatTime = (value: unknown): string | null => (value === null || value === undefined ? null : new Date(String(value)).toISOString())
