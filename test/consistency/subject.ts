// Records under test, with their states and acknowledgements.

export type Body = Record<string, unknown>

/** The version of a deleted record, which no version follows. */
export const DELETED = Number.POSITIVE_INFINITY
/** The version of a record that does not exist yet. */
export const ABSENT = 0

/** The instance number of writes by another program. */
export const OTHER_PROGRAM = -1

/** Returns the members that a write sets, given the record before. */
export type Effect = (before: Body) => Body

export interface State {
  /** When the first write of this state was sent. No read that ended earlier can show it. */
  writeStartedAt: number
  /** The whole record, from an answer. */
  body?: Body
  /** The effects of the writes that were acknowledged with this version. */
  effects: Effect[]
  /** The versions of all records in the same transaction: a list shows all of them or none. */
  batch?: Map<Subject, number>
  /** The version that a delete required (If-Match). */
  requiredVersion?: number | undefined
}

export interface Acknowledgement {
  at: number
  version: number
  instance: number
}

/** A record from its creation to its deletion. Its unique key identifies it before its id is known. */
export class Subject {
  id: number | undefined
  readonly key: string
  readonly states = new Map<number, State>()
  readonly acknowledgements: Acknowledgement[] = []
  /** Completed reads, in the form of acknowledgements of the version that they showed. */
  readonly reads: Acknowledgement[] = []
  readonly tags = new Map<number, string>()
  readonly versions = new Map<string, number>()
  /** Whether a client is deleting it, so that no other client starts a write. */
  isBeingDeleted = false

  constructor(key: string) {
    this.key = key
  }
}

/** Acknowledgements in order of time, with the newest version up to each: overall and for each instance. */
export class Timeline {
  readonly #acknowledgements: Acknowledgement[]
  readonly #newest: number[]
  readonly #newestByInstance: number[][] = []

  constructor(acknowledgements: readonly Acknowledgement[], instances: number) {
    this.#acknowledgements = [...acknowledgements].sort((a, b) => a.at - b.at)
    const findNewest = (counts: (acknowledgement: Acknowledgement) => boolean) => {
      let newest = ABSENT
      return this.#acknowledgements.map((acknowledgement) => {
        if (counts(acknowledgement)) newest = Math.max(newest, acknowledgement.version)
        return newest
      })
    }
    this.#newest = findNewest(() => true)
    for (let number = 0; number < instances; number++) this.#newestByInstance.push(findNewest(({ instance }) => instance === number))
  }

  #countBefore(time: number): number {
    let [low, high] = [0, this.#acknowledgements.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#acknowledgements[middle] as Acknowledgement).at < time) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Returns the oldest version that a read starting at `time` may show, if the instance may lag by `lag` ms behind others. */
  findFloor(instance: number, time: number, lag: number): number {
    const all = this.#newest[this.#countBefore(time - lag) - 1] ?? ABSENT
    const own = this.#newestByInstance[instance]?.[this.#countBefore(time) - 1] ?? ABSENT
    return Math.max(all, own)
  }

  /** Returns the smallest lag in ms with which a read is right. It is infinite if no lag explains the read. */
  findLag(instance: number, time: number, isRight: (floor: number) => boolean): number {
    if (isRight(this.findFloor(instance, time, 0))) return 0
    for (let index = this.#countBefore(time) - 1; index >= 0; index--) {
      const lag = time - (this.#acknowledgements[index] as Acknowledgement).at
      if (isRight(this.findFloor(instance, time, lag))) return lag
    }
    return Number.POSITIVE_INFINITY
  }

  /** Returns the milliseconds since the first acknowledgement of a version newer than `version`. */
  computeAge(time: number, version: number): number {
    const newer = this.#acknowledgements.find((acknowledgement) => acknowledgement.version > version)
    return newer ? time - newer.at : 0
  }
}

export const json = (value: unknown): string => JSON.stringify(value)
export const getKey = ({ sku, id }: Body): string => (sku === undefined ? `category ${id}` : String(sku))
