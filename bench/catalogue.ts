// Generates the catalogue of the benchmarks: the same for every run and every database.
import { createRandom, type Random, repeatByWeight } from './random.ts'
import { departmentNames, names, shelfNames, words as spelled, trades } from './words.ts'

/** Version of the generated data. Raise it with every change: databases of another version are generated anew. */
export const GENERATOR = 2

const SEED = 20_260_101
const DEPARTMENTS = departmentNames.length
const SHELVES = shelfNames.length
const YEAR = 365 * 24 * 60 * 60 * 1_000
/** Creation times span two years. */
const START = Date.parse('2024-01-01T00:00:00.000Z')
const END = START + 2 * YEAR

export interface Category {
  id: number
  name: string
  slug: string
  parent: number | null
  created_at: number
  updated_at: number
  version: number
}

/** A product in the units of the tables: price in cents, times in milliseconds. */
export interface Product {
  id: number
  sku: string | null
  name: string
  description: string
  price: number
  stock: number
  brand: string
  category: number | null
  created_at: number
  updated_at: number
  version: number
}

/** Returns the items in a random order that is the same for every run. */
function shuffle<T>(items: readonly T[]): T[] {
  const random = createRandom(SEED)
  const left = [...items]
  return items.map(() => left.splice(random.whole(left.length), 1)[0] as T)
}

/** Words, most frequent first. */
export const vocabulary: readonly string[] = shuffle(spelled)

/** Brands, most frequent first. */
export const brands: readonly string[] = shuffle(names.flatMap((name) => trades.map((trade) => `${name} ${trade}`)))

export const categories: readonly Category[] = departmentNames.flatMap((department, index) => {
  const id = 1 + index * (1 + SHELVES)
  return [
    buildCategory(id, department, null),
    ...shelfNames.map((shelf, place) => buildCategory(id + 1 + place, `${department} ${shelf}`, id)),
  ]
})

function buildCategory(id: number, name: string, parent: number | null): Category {
  const slug = name.toLowerCase().replaceAll(/[^a-z]+/g, '-')
  return { id, name, slug, parent, created_at: START, updated_at: START, version: 1 }
}

/** Lists the shelves of a department. */
export const listShelves = (department: number) => categories.filter(({ parent }) => parent === 1 + department * (1 + SHELVES))
/** Finds the department of a brand. Only one product in a hundred is elsewhere. */
export const findDepartment = (brand: string) => brands.indexOf(brand) % DEPARTMENTS

// Zipf's law, as in a language: the first word is in every third product, the last in one of a hundred.
const weightedWords = repeatByWeight(vocabulary, (rank) => 1 / (rank + 10))
// The first brand has every seventh product, the last has three of ten thousand.
const weightedBrands = repeatByWeight(brands, (rank) => 1 / (rank + 1))
const shelves = brands.map((brand) => listShelves(findDepartment(brand)))
const brandIndex = new Map(brands.map((brand, index) => [brand, index]))

const isInside = (word: string) => (text: string) => text !== word && text.toLowerCase().includes(word)

/** Words of medium frequency that are not part of other words. Each is in about 2 % of the products. */
export const searchWords: readonly string[] = vocabulary
  .slice(185, 235)
  .filter((word) => ![...vocabulary, ...brands].some(isInside(word)))
  .slice(0, 20)

/** Words that occur in many products. */
export const frequentWords: readonly string[] = vocabulary.slice(0, 10)

const capitalise = (word: string) => word.charAt(0).toUpperCase() + word.slice(1)

/** Generates the fields that a client writes. */
function createContent(random: Random) {
  const name = Array.from({ length: 2 + random.whole(3) }, () => capitalise(random.pick(weightedWords))).join(' ')
  let description = capitalise(random.pick(weightedWords))
  for (const length = 60 + random.whole(50); description.length < length; ) description += ` ${random.pick(weightedWords)}`
  const brand = random.pick(weightedBrands)
  const own = shelves[brandIndex.get(brand) ?? 0] ?? categories
  return {
    name,
    description,
    price: 100 + random.whole(49_901),
    stock: random.whole(10) === 0 ? 0 : 1 + random.whole(500),
    brand,
    category: random.whole(100) === 0 ? random.pick(categories).id : random.pick(own).id,
  }
}

/** Generates `rows` products with ids from 1. Creation times ascend with the ids, and no two times are equal. */
export function* generateProducts(rows: number): Generator<Product> {
  const random = createRandom(SEED)
  const step = Math.floor((END - START) / rows)
  for (let index = 0; index < rows; index++) {
    const created_at = START + index * step + random.whole(step)
    // The time modulo `rows` is the index, so no two update times are equal.
    const updated_at = Math.floor((created_at + random.whole(END - created_at)) / rows + 1) * rows + index
    const content = createContent(random)
    yield {
      id: index + 1,
      sku: random.whole(20) === 0 ? null : `SKU-${String(index + 1).padStart(7, '0')}`,
      ...content,
      category: random.whole(50) === 0 ? null : content.category,
      created_at,
      updated_at,
      version: 1,
    }
  }
}

/** Generates endless bodies that create products. */
export function* generateBodies(prefix: string): Generator<object, never> {
  const random = createRandom(SEED + 1)
  for (let number = 1; ; number++) {
    const { price, ...content } = createContent(random)
    yield { sku: `${prefix}-${number}`, ...content, price: (price / 100).toFixed(2) }
  }
}
