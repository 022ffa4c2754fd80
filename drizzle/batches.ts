// Long work in batches: each batch is short, so that other writes and requests run in between.
import { setImmediate } from 'node:timers/promises'

/** Rows of a batch. Other writes wait for its transaction; on SQLite, which runs in this process, so do requests. */
export const BATCH = 500

/**
 * Calls `work` until it returns less than BATCH, the number of rows that it handled, or until `signal` aborts. Returns the number of all
 * rows.
 */
export async function runInBatches(work: () => Promise<number>, signal?: AbortSignal): Promise<number> {
  let total = 0
  for (let count = BATCH; count === BATCH && !signal?.aborted; total += count) {
    count = await work()
    // On SQLite statements end without a turn of the event loop, and nothing else would run.
    await setImmediate()
  }
  return total
}
