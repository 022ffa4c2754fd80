// Watches the event loop and the heap, and says when the process cannot keep up.
import { getHeapStatistics } from 'node:v8'

/** Milliseconds between two looks, and while the process has just started. */
const EVERY = 250
const EVERY_AT_START = 50

/** Milliseconds from one look to the next that are too long. Each request waits about as long before it is read. */
const LATE = 1_000
/** Late looks in a row that mean overload: a single late turn of the event loop never does. */
const LATE_IN_A_ROW = 3

/** Milliseconds from one look to the next that are short, and how many short ones in a row end the start. */
const PUNCTUAL = 4 * EVERY_AT_START
const PUNCTUAL_IN_A_ROW = 3
/** Milliseconds after which the start is over in any case: a service on a busy machine answers late, but it answers. */
const START_LIMIT = 10_000

/** Share of V8's limit, which counts up to 192 MB for young objects that never fill: with 512 MB for old ones it is nine tenths of these. */
const MAX_HEAP_SHARE = 0.65

/** What is too high, and how high it is: milliseconds between two looks, or bytes. */
export interface Overload {
  measure: 'eventLoopDelay' | 'heapUsedBytes'
  value: number
}

export interface Gauges {
  /** Milliseconds of a clock that only goes forward. */
  now(): number
  heapUsed(): number
  heapLimit: number
}

const processGauges: Gauges = {
  now: () => performance.now(),
  heapUsed: () => getHeapStatistics().used_heap_size,
  heapLimit: getHeapStatistics().heap_size_limit,
}

export class Load {
  /** Set while the process cannot keep up. */
  overload: Overload | undefined
  /** Whether the late turns of the start are over. Nothing counts as overload before. */
  hasSettled = false
  /** Resolves when the start is over. */
  readonly settled: Promise<void>
  readonly #gauges: Gauges
  readonly #settle: () => void
  #startedAt = 0
  #lookedAt = 0
  #punctual = 0
  #late = 0
  #timer: NodeJS.Timeout | undefined

  constructor(gauges: Gauges = processGauges) {
    this.#gauges = gauges
    const { promise, resolve } = Promise.withResolvers<void>()
    this.settled = promise
    this.#settle = resolve
  }

  /** Begins the first window. */
  begin(): void {
    this.#startedAt = this.#gauges.now()
    this.#lookedAt = this.#startedAt
  }

  /** Begins, and looks until `stop`. */
  start(): void {
    this.begin()
    const sample = () => {
      this.look()
      this.#timer = setTimeout(sample, this.hasSettled ? EVERY : EVERY_AT_START).unref()
    }
    this.#timer = setTimeout(sample, EVERY_AT_START).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#end()
  }

  /** Ends a window and begins the next. */
  look(): void {
    const now = this.#gauges.now()
    const window = now - this.#lookedAt
    this.#lookedAt = now
    if (!this.hasSettled) {
      this.#punctual = window <= PUNCTUAL ? this.#punctual + 1 : 0
      if (this.#punctual >= PUNCTUAL_IN_A_ROW || now - this.#startedAt >= START_LIMIT) this.#end()
      return
    }
    this.#late = window > LATE ? this.#late + 1 : 0
    const heapUsed = this.#gauges.heapUsed()
    if (this.#late >= LATE_IN_A_ROW) this.overload = { measure: 'eventLoopDelay', value: Math.round(window) }
    else if (heapUsed > this.#gauges.heapLimit * MAX_HEAP_SHARE) this.overload = { measure: 'heapUsedBytes', value: heapUsed }
    else this.overload = undefined
  }

  #end(): void {
    this.hasSettled = true
    this.#settle()
  }
}
