// A semaphore whose queue is bounded, has a deadline for each waiter, and can be closed.

export interface Semaphore {
  /** Runs `work` when a place is free. Returns undefined if the queue is full, `deadline` passes first, or the queue is closed. */
  run<T>(deadline: number, work: () => Promise<T>): Promise<T | undefined>
  close(): void
}

/** Creates a semaphore that runs `max` pieces of work at a time, while `maxQueue` wait. */
export function createSemaphore(max: number, maxQueue: number): Semaphore {
  const waiting = new Set<(isFree: boolean) => void>()
  let free = max
  let isClosed = false

  async function acquire(deadline: number): Promise<boolean> {
    if (isClosed) return false
    if (free > 0) {
      free--
      return true
    }
    if (waiting.size >= maxQueue) return false
    const { promise, resolve } = Promise.withResolvers<boolean>()
    waiting.add(resolve)
    const timer = setTimeout(() => leave(resolve, false), deadline - performance.now())
    return promise.finally(() => clearTimeout(timer))
  }

  function leave(resolve: (isFree: boolean) => void, isFree: boolean): void {
    waiting.delete(resolve)
    resolve(isFree)
  }

  function release(): void {
    const [next] = waiting
    if (next) leave(next, true)
    else free++
  }

  return {
    async run(deadline, work) {
      if (!(await acquire(deadline))) return undefined
      try {
        return await work()
      } finally {
        release()
      }
    },
    close() {
      isClosed = true
      for (const resolve of waiting) leave(resolve, false)
    },
  }
}
