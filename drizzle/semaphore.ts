// Lets some work go on at a time while the rest waits in a queue: one that has an end, a deadline, and can be closed.

export interface Semaphore {
  /** Undefined where it did not come to its turn: too many waited already, it waited until `deadline`, or the queue was closed. */
  run<T>(deadline: number, work: () => Promise<T>): Promise<T | undefined>
  close(): void
}

/** `max` at a time, while `maxQueue` wait. */
export function createSemaphore(max: number, maxQueue: number): Semaphore {
  const waiting = new Set<(turn: boolean) => void>()
  let free = max
  let closed = false

  async function take(deadline: number): Promise<boolean> {
    if (closed) return false
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

  function leave(resolve: (turn: boolean) => void, turn: boolean): void {
    waiting.delete(resolve)
    resolve(turn)
  }

  function pass(): void {
    const [next] = waiting
    if (next) leave(next, true)
    else free++
  }

  return {
    async run(deadline, work) {
      if (!(await take(deadline))) return undefined
      try {
        return await work()
      } finally {
        pass()
      }
    },
    close() {
      closed = true
      for (const resolve of waiting) leave(resolve, false)
    },
  }
}
