// Many times, in their order, each with whose it is: in plain arrays, so that a million of them are nothing to the garbage collector.

/** At first; twice as many whenever they do not suffice. */
const FIRST_CAPACITY = 1_024

const NONE = -1

/** Places are numbers from 0; -1 is none. Times are added in their order, and removed from anywhere. */
export class Timestamps<Owner> {
  readonly #max: number
  #times = new Float64Array(FIRST_CAPACITY)
  /** The next place of the same owner, and of a free place the next free one. */
  #next = new Int32Array(FIRST_CAPACITY)
  /** The neighbours in time. */
  #earlier = new Int32Array(FIRST_CAPACITY)
  #later = new Int32Array(FIRST_CAPACITY)
  readonly #owners: (Owner | undefined)[] = []
  #free = NONE
  /** Places that were ever used. */
  #used = 0
  #oldest = NONE
  #latest = NONE
  #size = 0

  constructor(max: number) {
    this.#max = max
  }

  get size(): number {
    return this.#size
  }

  get isFull(): boolean {
    return this.#size >= this.#max
  }

  get oldest(): number {
    return this.#oldest
  }

  timeOf(place: number): number {
    return this.#times[place] as number
  }

  ownerOf(place: number): Owner {
    return this.#owners[place] as Owner
  }

  /** `previous` is where the owner's latest is. Returns the place. */
  add(time: number, owner: Owner, previous: number): number {
    const place = this.#take()
    this.#times[place] = time
    this.#owners[place] = owner
    this.#next[place] = NONE
    this.#later[place] = NONE
    this.#earlier[place] = this.#latest
    if (this.#latest === NONE) this.#oldest = place
    else this.#later[this.#latest] = place
    this.#latest = place
    if (previous !== NONE) this.#next[previous] = place
    this.#size++
    return place
  }

  /** Removes an owner's oldest. Returns where its next one is. */
  remove(place: number): number {
    const next = this.#next[place] as number
    const earlier = this.#earlier[place] as number
    const later = this.#later[place] as number
    if (earlier === NONE) this.#oldest = later
    else this.#later[earlier] = later
    if (later === NONE) this.#latest = earlier
    else this.#earlier[later] = earlier
    this.#owners[place] = undefined
    this.#next[place] = this.#free
    this.#free = place
    this.#size--
    return next
  }

  #take(): number {
    const place = this.#free
    if (place !== NONE) {
      this.#free = this.#next[place] as number
      return place
    }
    if (this.#used === this.#times.length) this.#grow(Math.min(2 * this.#used, this.#max))
    return this.#used++
  }

  #grow(capacity: number): void {
    const times = new Float64Array(capacity)
    times.set(this.#times)
    this.#times = times
    this.#next = enlarged(this.#next, capacity)
    this.#earlier = enlarged(this.#earlier, capacity)
    this.#later = enlarged(this.#later, capacity)
  }
}

function enlarged(array: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(length)
  larger.set(array)
  return larger
}
