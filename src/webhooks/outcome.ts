// Computes the outcome of an attempt for the delivery and for its webhook (Standard Webhooks 1.0).
import type { Database } from '../../drizzle/database.ts'
import type { DeliveryAttempt } from '../resources/deliveries.ts'
import type { SendResult } from './send.ts'

export type Delivery = Database['tables']['deliveries']['$inferSelect']

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

/** Milliseconds before each attempt, starting with the first. They add up to about three days. */
const SCHEDULE = [0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]

/** Random share added to each delay, so that deliveries that failed together are not retried together. */
const JITTER = 0.1

/** Longest pause in milliseconds that a receiver gets by `Retry-After`. */
const MAX_PAUSE = 24 * HOUR
/** Pause in milliseconds for an overloaded receiver that sends no `Retry-After`. */
const THROTTLED_PAUSE = 5 * SECOND

const GONE = 410
const THROTTLED = [429, 502, 503, 504]

/** Attempts in the history of a delivery. */
const MAX_HISTORY = 20

export interface Outcome {
  /** New values of the delivery's columns. */
  values: Partial<Delivery>
  isDelivered: boolean
  isGone: boolean
  /** The last attempt has failed. */
  isExhausted: boolean
  error: string | null
  /** Milliseconds without deliveries to the receiver. */
  pause: number
}

export function computeOutcome(
  delivery: Delivery,
  { status, latency, error, response, retryAfter }: SendResult,
  at: string,
  schedule: readonly number[] = SCHEDULE,
): Outcome {
  const attempts = delivery.attempts + 1
  const attempt: DeliveryAttempt = { at, status, latency_ms: latency, error, response }
  const isDelivered = error === null
  const isGone = status === GONE
  const pause = computePause(status, retryAfter)
  const isExhausted = !isDelivered && attempts >= schedule.length
  const isFinished = isDelivered || isGone || isExhausted
  const wait = Math.max(pause, (schedule[attempts] ?? 0) * (1 + JITTER * Math.random()))
  return {
    values: {
      status: isDelivered ? 'delivered' : isFinished ? 'failed' : 'pending',
      attempts,
      due_at: isFinished ? null : new Date(Date.now() + wait).toISOString(),
      response_status: status,
      latency_ms: latency,
      error,
      history: [...delivery.history, attempt].slice(-MAX_HISTORY),
    },
    isDelivered,
    isGone,
    isExhausted,
    error,
    pause,
  }
}

function computePause(status: number | null, retryAfter: string | undefined): number {
  if (status === null || !THROTTLED.includes(status)) return 0
  const seconds = /^\d{1,9}$/.test(retryAfter ?? '') ? Number(retryAfter) * SECOND : Date.parse(retryAfter ?? '') - Date.now()
  if (Number.isNaN(seconds)) return THROTTLED_PAUSE
  return Math.min(MAX_PAUSE, Math.max(0, seconds))
}
