// Runs asynchronous work with the same key in order, one at a time.

type Serialise = <T>(key: string, work: () => Promise<T>) => Promise<T>

/**
 * Returns a function that runs `work` after all earlier work with the same key has settled. A failure affects only its caller: later
 * work still runs.
 */
export function createSerialiser(): Serialise {
  const last = new Map<string, Promise<unknown>>()
  return (key, work) => {
    const result = (last.get(key) ?? Promise.resolve()).then(work)
    const settled = result
      .catch(() => {})
      .finally(() => {
        if (last.get(key) === settled) last.delete(key)
      })
    last.set(key, settled)
    return result
  }
}
