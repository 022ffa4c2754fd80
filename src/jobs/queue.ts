// What a queue of jobs does, whichever database it is in.
import type { Database, Queries } from '../../drizzle/database.ts'
import type { Actor } from '../changelog/record.ts'

/** `waiting` for its time or for a worker, `failed` for good: until somebody asks for another try. */
export const STATUSES = ['waiting', 'running', 'done', 'failed'] as const
export type Status = (typeof STATUSES)[number]

export interface Job {
  id: string
  kind: string
  status: Status
  payload: unknown
  /** How often a worker has begun it. */
  attempts: number
  /** Why the last attempt failed. */
  error: string | null
  /** What it came to, where its kind says so. */
  result: unknown
  /** Not before then. */
  run_at: string
  /** Who asked for it: the id of the API key, and of the request. */
  key: number | null
  request: string | null
  created_at: string
  started_at: string | null
  finished_at: string | null
}

export interface NewJob {
  kind: string
  payload: unknown
  by: Actor
  /** Of the jobs of a kind that wait, no two have the same. */
  key?: string
  /** One that there is already, in whatever state, is not made again. */
  id?: string
  runAt?: Date
}

/** A job that a worker has, until its lease is over. The attempt tells it from a later one of the same job. */
export interface Claimed extends Pick<Job, 'id' | 'kind' | 'payload' | 'key' | 'request'> {
  attempt: number
  token: string
  /** Why the payload of its row cannot be read. Such a job cannot be run. */
  unreadable?: string
}

/** How jobs of a kind are run. */
export interface Terms {
  /** How often it is begun before it has failed for good. */
  attempts: number
  /** Seconds before the second attempt; each further one waits twice as long, and up to as long again by chance. */
  delay: number
  /** Seconds, at most. */
  maxDelay: number
  /** Jobs of the kind that a process runs at the same time. */
  concurrency: number
  /** Whether those that came to an end are kept, for who asks; otherwise the last that failed, of each key. */
  kept: boolean
}

export interface ListedBy {
  status?: Status
  kind?: string
  /** The job that the page begins behind. */
  before?: { created_at: string; id: string }
  limit: number
}

export interface Queue {
  /** Milliseconds between two looks for work. */
  readonly interval: number
  /** Adds a job in a transaction of the caller's, and returns its id; undefined where one with its key waits, or with its id is there. */
  add(tx: Queries, job: NewJob): Promise<string | undefined>
  /** Finds which of some kinds may have a job that is due: one look, however many kinds there are. */
  findDueKinds(kinds: readonly string[]): Promise<readonly string[]>
  /** Takes jobs that are due, at most `max`, and those whose worker has not been heard of for a lease. */
  claim(kind: string, max: number): Promise<Claimed[]>
  /** Says that they are still worked on. */
  beat(jobs: readonly Claimed[]): Promise<void>
  done(job: Claimed, result: unknown): Promise<void>
  /** The job is tried again later, as often as its kind allows; with `isFinal` never. */
  failed(job: Claimed, error: string, isFinal?: boolean): Promise<void>
  /** It waits again as if it had not been begun. */
  handBack(job: Claimed): Promise<void>
  find(id: string): Promise<Job | undefined>
  /** The newest first. */
  list(by: ListedBy): Promise<Job[]>
  /** Lets one that has failed wait again. False where there is none such. */
  retry(id: string): Promise<boolean>
  /** Forgets what came to an end before a time. */
  prune(before: Date): Promise<number>
  close(): Promise<void>
}

/** Milliseconds for which a worker that is not heard of is believed to work, and between two signs of life. */
export const LEASE = 15_000
export const HEARTBEAT = 5_000

/** Characters of an error that are kept. */
export const MAX_ERROR = 1_000

/** A crashed worker leaves no other. */
export const LEASE_OVER = 'the worker was not heard of until its lease was over'

export interface QueueOptions {
  db: Database
  terms: ReadonlyMap<string, Terms>
  /** Days for which jobs that came to an end are kept. */
  keepDays: number
  /** Whether this process works through it. */
  works: boolean
  onError(error: unknown): void
}
