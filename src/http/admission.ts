// Admits large bodies one by one: a few at a time, a few of one client, and the others wait without being read.

export interface AdmissionLimits {
  /** Places in all, and of one client. */
  places: number
  placesPerClient: number
  /** Requests that wait for a place, and those of one client. */
  waiting: number
  waitingPerClient: number
  /** Milliseconds that a request waits. */
  maxWait: number
}

export interface Place {
  /** False where no place was free in time, or too many wait already. */
  granted: Promise<boolean>
  /** Gives the place back, or waits no longer. */
  leave(): void
}

interface Entry {
  client: string
  resolve(isGranted: boolean): void
  timer: NodeJS.Timeout
}

export class Admission {
  readonly #limits: AdmissionLimits
  readonly #admitted = new Set<Entry>()
  readonly #waiting = new Set<Entry>()

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  enter(client: string): Place {
    const { waiting, waitingPerClient, maxWait: patience } = this.#limits
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const entry = { client, resolve, timer: setTimeout(() => this.#leave(entry), patience) }
    this.#waiting.add(entry)
    this.#admit()
    const isRefused = this.#waiting.size > waiting || countEntries(this.#waiting, client) > waitingPerClient
    if (isRefused && this.#waiting.has(entry)) this.#leave(entry)
    return { granted: promise, leave: () => this.#leave(entry) }
  }

  #leave(entry: Entry): void {
    clearTimeout(entry.timer)
    this.#waiting.delete(entry)
    entry.resolve(false)
    if (this.#admitted.delete(entry)) this.#admit()
  }

  /** Admits those that have waited longest, as far as there are places for their clients. */
  #admit(): void {
    const { places, placesPerClient } = this.#limits
    for (const entry of this.#waiting) {
      if (this.#admitted.size >= places) return
      if (countEntries(this.#admitted, entry.client) >= placesPerClient) continue
      clearTimeout(entry.timer)
      this.#waiting.delete(entry)
      this.#admitted.add(entry)
      entry.resolve(true)
    }
  }
}

function countEntries(entries: ReadonlySet<Entry>, client: string): number {
  let count = 0
  for (const entry of entries) if (entry.client === client) count++
  return count
}
