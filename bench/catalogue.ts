// The catalogue that is measured: made up, the same at every run, and the same in every database.
import { byWeight, type Random, seeded } from './random.ts'
import { departmentNames, names, shelfNames, words as spelled, trades } from './words.ts'

/** Raised when anything here changes what is generated: databases made by another version are not used again. */
export const GENERATOR = 2

const SEED = 20_260_101
const DEPARTMENTS = departmentNames.length
const SHELVES = shelfNames.length
const YEAR = 365 * 24 * 60 * 60 * 1_000
/** The catalogue grew over two years. */
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

/** As the tables hold it: price in cents, times in milliseconds. */
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

/** In a random order, the same at every run. */
function shuffled<T>(items: readonly T[]): T[] {
  const random = seeded(SEED)
  const left = [...items]
  return items.map(() => left.splice(random.whole(left.length), 1)[0] as T)
}

/** The most frequent first. */
export const vocabulary: readonly string[] = shuffled(spelled)

/** The most frequent first. */
export const brands: readonly string[] = shuffled(names.flatMap((name) => trades.map((trade) => `${name} ${trade}`)))

export const categories: readonly Category[] = departmentNames.flatMap((department, index) => {
  const id = 1 + index * (1 + SHELVES)
  return [category(id, department, null), ...shelfNames.map((shelf, place) => category(id + 1 + place, `${department} ${shelf}`, id))]
})

function category(id: number, name: string, parent: number | null): Category {
  const slug = name.toLowerCase().replaceAll(/[^a-z]+/g, '-')
  return { id, name, slug, parent, created_at: START, updated_at: START, version: 1 }
}

/** Of 4 and more shelves, those of one department follow each other. */
export const shelvesOf = (department: number) => categories.filter(({ parent }) => parent === 1 + department * (1 + SHELVES))
/** A brand belongs to one department, and hardly ever sells in another. */
export const departmentOf = (brand: string) => brands.indexOf(brand) % DEPARTMENTS

// Like words of a language: the first is in every third product, the last in one of a hundred.
const words = byWeight(vocabulary, (rank) => 1 / (rank + 10))
// The first brand makes every seventh product, the last three of ten thousand.
const makers = byWeight(brands, (rank) => 1 / (rank + 1))
const shelves = brands.map((brand) => shelvesOf(departmentOf(brand)))
const brandIndex = new Map(brands.map((brand, index) => [brand, index]))

const isPartOf = (word: string) => (text: string) => text !== word && text.toLowerCase().includes(word)

/** About two percent of the products have one of these: words of the middle that are no part of others. */
export const searched: readonly string[] = vocabulary
  .slice(185, 235)
  .filter((word) => ![...vocabulary, ...brands].some(isPartOf(word)))
  .slice(0, 20)

/** Words that many products have. */
export const common: readonly string[] = vocabulary.slice(0, 10)

const capitalise = (word: string) => word.charAt(0).toUpperCase() + word.slice(1)

/** What people would write of a product. */
function content(random: Random) {
  const name = Array.from({ length: 2 + random.whole(3) }, () => capitalise(random.pick(words))).join(' ')
  let description = capitalise(random.pick(words))
  for (const length = 60 + random.whole(50); description.length < length; ) description += ` ${random.pick(words)}`
  const brand = random.pick(makers)
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

/** `rows` products, by id from 1. Later ids were made later; no two times are equal. */
export function* products(rows: number): Generator<Product> {
  const random = seeded(SEED)
  const step = Math.floor((END - START) / rows)
  for (let index = 0; index < rows; index++) {
    const created_at = START + index * step + random.whole(step)
    // What is left of a division by the number of rows is another for each of them.
    const updated_at = Math.floor((created_at + random.whole(END - created_at)) / rows + 1) * rows + index
    const made = content(random)
    yield {
      id: index + 1,
      sku: random.whole(20) === 0 ? null : `SKU-${String(index + 1).padStart(7, '0')}`,
      ...made,
      category: random.whole(50) === 0 ? null : made.category,
      created_at,
      updated_at,
      version: 1,
    }
  }
}

/** Bodies that make products, without end. */
export function* newProducts(prefix: string): Generator<object, never> {
  const random = seeded(SEED + 1)
  for (let number = 1; ; number++) {
    const { price, ...made } = content(random)
    yield { sku: `${prefix}-${number}`, ...made, price: (price / 100).toFixed(2) }
  }
}
