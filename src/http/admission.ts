// Limits how many large bodies are read at once, in all and per client. Other requests wait, and their bodies are not read meanwhile.

interface AdmissionLimits {
  /** Bodies that are read at the same time. */
  places: number
  /** Bodies of one client that are read at the same time. */
  placesPerClient: number
  /** Requests that may wait for a place. */
  waiting: number
  /** Requests of one client that may wait for a place. */
  waitingPerClient: number
  /** Milliseconds that a request may wait. */
  maxWait: number
}

export interface Place {
  /** Resolves to false if no place was free in time, or too many requests wait already. */
  granted: Promise<boolean>
  /** Frees the place, or stops waiting for it. */
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

  /** Requests a place for a client. */
  enter(client: string): Place {
    const { waiting, waitingPerClient, maxWait } = this.#limits
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const entry = { client, resolve, timer: setTimeout(() => this.#leave(entry), maxWait) }
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

  /** Admits waiting requests, the oldest first, while there are places for their clients. */
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
