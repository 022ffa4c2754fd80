// Linked lists of numbered items in typed arrays. Appending and removing take constant time and create no garbage.

/** The number of no item. Items are numbered from 1, lists from 0. */
export const NONE = 0

const INITIAL = 16

/** Lists of items. An item is in at most one list, and the caller knows which. */
export class LinkedLists {
  #first = new Int32Array(INITIAL)
  #last = new Int32Array(INITIAL)
  #before = new Int32Array(INITIAL)
  #after = new Int32Array(INITIAL)

  /** Returns the oldest item of a list, or NONE. */
  first(list: number): number {
    return this.#first[list] ?? NONE
  }

  /** Returns the item that was appended next, or NONE. */
  after(item: number): number {
    return this.#after[item] ?? NONE
  }

  append(list: number, item: number): void {
    if (list >= this.#first.length) {
      this.#first = grow(this.#first, list)
      this.#last = grow(this.#last, list)
    }
    if (item >= this.#after.length) {
      this.#before = grow(this.#before, item)
      this.#after = grow(this.#after, item)
    }
    const last = this.#last[list] ?? NONE
    this.#before[item] = last
    this.#after[item] = NONE
    this.#last[list] = item
    if (last === NONE) this.#first[list] = item
    else this.#after[last] = item
  }

  remove(list: number, item: number): void {
    const before = this.#before[item] ?? NONE
    const after = this.#after[item] ?? NONE
    if (before === NONE) this.#first[list] = after
    else this.#after[before] = after
    if (after === NONE) this.#last[list] = before
    else this.#before[after] = before
  }
}

/** Copies an array to at least twice its length, with room for `index`. New elements are 0. */
export function grow<A extends Int32Array | Float64Array>(array: A, index: number): A {
  const copy = new (array.constructor as new (length: number) => A)(Math.max(index + 1, 2 * array.length))
  copy.set(array)
  return copy
}
