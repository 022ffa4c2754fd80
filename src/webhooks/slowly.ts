// Work that is asked for again a moment after it has failed.
import { setTimeout } from 'node:timers/promises'

/** Milliseconds. */
const FAILURE_DELAY = 5_000

/** Fails only after a while where it fails, unless `signal` says to come to an end: it holds its place, and nobody tries it meanwhile. */
export async function delayFailure<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await setTimeout(FAILURE_DELAY, undefined, { signal }).catch(() => {})
    throw error
  }
}
