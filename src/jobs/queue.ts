// The interface of a job queue, and the types that both implementations share.
import type { Database, Queries } from '../../drizzle/database.ts'
import type { Actor } from '../changelog/record.ts'

/** `waiting`: for its time or for a worker. `failed`: for good, unless a client retries the job. */
export const STATUSES = ['waiting', 'running', 'done', 'failed'] as const
export type Status = (typeof STATUSES)[number]

export interface Job {
  id: string
  kind: string
  status: Status
  payload: unknown
  /** Attempts that workers have started. */
  attempts: number
  /** Message of the last failure. */
  error: string | null
  /** Return value of the handler. */
  result: unknown
  /** Earliest start. */
  run_at: string
  /** Id of the API key that started the job. */
  key: number | null
  /** Id of the request that started the job. */
  request: string | null
  created_at: string
  started_at: string | null
  finished_at: string | null
}

export interface NewJob {
  kind: string
  payload: unknown
  by: Actor
  /** Unique among the waiting jobs of the kind. */
  key?: string
  /** Unique among all jobs, in whatever status; random by default. */
  id?: string
  runAt?: Date
}

/** A job that a worker runs until its lease expires. `token` tells this attempt from a later one of the same job. */
export interface ClaimedJob extends Pick<Job, 'id' | 'kind' | 'payload' | 'key' | 'request'> {
  attempt: number
  token: string
  /** Why the payload of the row cannot be read. Such a job cannot run. */
  payloadError?: string
}

/** Attempts, delays and concurrency of the jobs of a kind. */
export interface RetryPolicy {
  /** Attempts before the job fails for good. */
  attempts: number
  /** Seconds before the second attempt. The delay doubles with each attempt, and jitter adds up to 100 %. */
  delay: number
  /** Longest delay in seconds. */
  maxDelay: number
  /** Jobs of the kind that one process runs at the same time. */
  concurrency: number
  /** Whether finished jobs stay in the list. Otherwise only the last failure of each key stays. */
  hasHistory: boolean
}

export interface JobFilter {
  status?: Status
  kind?: string
  /** Position of the last job on the previous page. */
  before?: { created_at: string; id: string }
  limit: number
}

export interface Queue {
  /** Milliseconds between two polls. */
  readonly interval: number
  /**
   * Adds a job in the caller's transaction and returns its id. Returns undefined if a waiting job of the kind has the same key, or any job
   * has the same id.
   */
  add(tx: Queries, job: NewJob): Promise<string | undefined>
  /** Finds the kinds that have a due job, without blocking writes. */
  findDueKinds(kinds: readonly string[]): Promise<readonly string[]>
  /** Claims up to `max` due jobs, including jobs whose lease has expired. */
  claim(kind: string, max: number): Promise<ClaimedJob[]>
  /** Renews the leases of jobs. */
  sendHeartbeat(jobs: readonly ClaimedJob[]): Promise<void>
  complete(job: ClaimedJob, result: unknown): Promise<void>
  /** Schedules the next attempt that the policy allows. With `isFinal`, or after the last attempt, the job fails for good. */
  fail(job: ClaimedJob, error: string, isFinal?: boolean): Promise<void>
  /** Puts a job back as if its attempt had not started. */
  release(job: ClaimedJob): Promise<void>
  find(id: string): Promise<Job | undefined>
  /** Returns the newest jobs first. */
  list(filter: JobFilter): Promise<Job[]>
  /** Makes a failed job wait again, with all its attempts. Returns false if no failed job has this id. */
  retry(id: string): Promise<boolean>
  /** Deletes jobs that finished before a time, and returns their number. */
  prune(before: Date): Promise<number>
  close(): Promise<void>
}

/** Milliseconds after the last heartbeat until another worker may claim the job. */
export const LEASE = 15_000
/** Milliseconds between two heartbeats. */
export const HEARTBEAT_INTERVAL = 5_000

/** Longest stored error message, in characters. */
export const MAX_ERROR_LENGTH = 1_000

/** Error of a job whose worker crashed. */
export const LEASE_EXPIRED = 'The lease expired: the worker sent no heartbeat.'

export interface QueueOptions {
  db: Database
  /** Retry policies by kind. */
  policies: ReadonlyMap<string, RetryPolicy>
  /** Days to keep finished jobs. */
  keepDays: number
  /** Whether this process runs jobs. */
  isWorker: boolean
  onError(error: unknown): void
}
