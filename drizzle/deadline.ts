// The end of a list that takes long, wherever it waits: for a thread, a connection, the database or its turn of the event loop.
import { QueryTooExpensive } from './database.ts'

/** Milliseconds before a deadline at which waiting ends, so that a page can still be read without its count. */
const LAST_TRY = 100
/** Part of the whole time that this may be. */
const LAST_SHARE = 1 / 4

/** When to stop waiting for what takes long, for a list that has `timeout` milliseconds in all. */
export const computeLastTry = (deadline: number, timeout: number): number => deadline - Math.min(LAST_TRY, timeout * LAST_SHARE)

/** Throws QueryTooExpensive after `deadline`, in milliseconds of `performance.now()`. */
export function checkDeadline(deadline: number): void {
  if (performance.now() > deadline) throw new QueryTooExpensive('a list took longer than it may')
}

/** Resolves as `work` does. Throws QueryTooExpensive at `deadline`, and for a result that comes later; `work` is not ended by that. */
export async function withDeadline<T>(deadline: number, work: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new QueryTooExpensive('a list waited for longer than it may')), deadline - performance.now())
  try {
    const result = await Promise.race([work, late])
    checkDeadline(deadline)
    return result
  } finally {
    clearTimeout(timer)
  }
}
