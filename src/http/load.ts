// Detects overload by the delay of the event loop and the size of the heap.
import { getHeapStatistics } from 'node:v8'

/** Milliseconds between two samples. */
const INTERVAL = 250
/** Milliseconds between two samples during the start. */
const INTERVAL_AT_START = 50

/** Milliseconds between two samples that count as late. Each request waits about as long before it is read. */
const LATE = 1_000
/** Late samples in a row that mean overload. A single late turn of the event loop does not. */
const LATE_IN_A_ROW = 3

/** Milliseconds between two samples that count as punctual. */
const PUNCTUAL = 4 * INTERVAL_AT_START
/** Punctual samples in a row that end the start. */
const PUNCTUAL_IN_A_ROW = 3
/** Milliseconds after which the start ends in any case, so that a service on a busy machine becomes ready. */
const START_LIMIT = 10_000

/** Share of V8's heap limit. The limit includes 192 MB for young objects that never fill, so 0.65 is nine tenths of 512 MB for old ones. */
const MAX_HEAP_SHARE = 0.65

/** The measure that is too high, and its value in milliseconds or bytes. */
interface Overload {
  measure: 'eventLoopDelay' | 'heapUsedBytes'
  value: number
}

export interface Gauges {
  /** Monotonic time in milliseconds. */
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
  /** Set while the process is overloaded. */
  overload: Overload | undefined
  /** Whether the start is over. Before, nothing counts as overload. */
  hasSettled = false
  /** Resolves at the end of the start. */
  readonly settled: Promise<void>
  readonly #gauges: Gauges
  readonly #settle: () => void
  #startedAt = 0
  #sampledAt = 0
  #punctual = 0
  #late = 0
  #timer: NodeJS.Timeout | undefined

  constructor(gauges: Gauges = processGauges) {
    this.#gauges = gauges
    const { promise, resolve } = Promise.withResolvers<void>()
    this.settled = promise
    this.#settle = resolve
  }

  /** Starts the first window. */
  begin(): void {
    this.#startedAt = this.#gauges.now()
    this.#sampledAt = this.#startedAt
  }

  /** Samples at intervals until `stop`. */
  start(): void {
    this.begin()
    const run = () => {
      this.sample()
      this.#timer = setTimeout(run, this.hasSettled ? INTERVAL : INTERVAL_AT_START).unref()
    }
    this.#timer = setTimeout(run, INTERVAL_AT_START).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#end()
  }

  /** Ends a window, evaluates it and starts the next. */
  sample(): void {
    const now = this.#gauges.now()
    const window = now - this.#sampledAt
    this.#sampledAt = now
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
