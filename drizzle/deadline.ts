// Deadlines of lists, wherever they wait: for a thread, a connection, the database or the event loop.
import { QueryTooExpensive } from './database.ts'

/** Milliseconds reserved before a deadline to read a page without its count. */
const LAST_TRY = 100
/** Largest share of the timeout to reserve. */
const LAST_SHARE = 1 / 4

/** Computes when to stop waiting for a long read. Times are in milliseconds of `performance.now()`; `timeout` is that of the whole list. */
export const computeLastTry = (deadline: number, timeout: number): number => deadline - Math.min(LAST_TRY, timeout * LAST_SHARE)

/** Throws QueryTooExpensive after `deadline`, in milliseconds of `performance.now()`. */
export function checkDeadline(deadline: number): void {
  if (performance.now() > deadline) throw new QueryTooExpensive('The list exceeded its deadline')
}

/** Settles as `work` does, but throws QueryTooExpensive at `deadline`. It does not end `work`, and refuses a result that comes late. */
export async function withDeadline<T>(deadline: number, work: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new QueryTooExpensive('The list waited past its deadline')), deadline - performance.now())
  try {
    const result = await Promise.race([work, late])
    checkDeadline(deadline)
    return result
  } finally {
    clearTimeout(timer)
  }
}
