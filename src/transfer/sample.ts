// Generates the sample catalogue: the same believable products on every run.
import type { Line } from './ndjson.ts'
import { createRandom, type Random } from './random.ts'
import departments from './sample-departments.json' with { type: 'json' }

const SEED = 20_260_101
/** Every 50th product has no category, and every 10th is sold out. */
const WITHOUT_CATEGORY = 50
const SOLD_OUT = 10
/** Draws before a product may repeat another one's brand and name. */
const MAX_DRAWS = 20
/** Each brand ends its prices in the same way. The value is subtracted from a whole number. */
const PRICE_ENDINGS = [0.01, 0, 0.05, 0.5, 0.1]
/** The largest stock of a product that costs 1. It falls with the square root of the price, but not below SMALLEST_RANGE. */
const LARGEST_RANGE = 400
const SMALLEST_RANGE = 8

type Department = (typeof departments)[number]
type Shelf = Department['shelves'][number]

/** Indices into the lists of a department and a shelf. They decide the price and the description, so that variants of a product agree. */
interface SampleChoice {
  brand: number
  line: number
  kind: number
  variants: number[]
}

/** Yields `count` products as lines of an import. A smaller sample is the beginning of a larger one. */
export async function* sampleProducts(count: number): AsyncGenerator<Line> {
  const random = createRandom(SEED)
  const usedNames = new Set<string>()
  for (let number = 1; number <= count; number++) {
    const { code, category, ...product } = drawUnused(random, usedNames)
    const value = {
      sku: `${code}-${String(number).padStart(6, '0')}`,
      ...product,
      stock: number % SOLD_OUT === 0 ? 0 : stockFor(product.price, random),
      category: number % WITHOUT_CATEGORY === 0 ? [] : category,
    }
    yield { number, value }
  }
}

function drawUnused(random: Random, usedNames: Set<string>) {
  for (let draw = 1; ; draw++) {
    const product = drawProduct(random)
    const key = `${product.brand} ${product.name}`
    if (usedNames.has(key) && draw < MAX_DRAWS) continue
    usedNames.add(key)
    return product
  }
}

function drawProduct(random: Random) {
  const department = random.pick(departments)
  const shelf = random.pick(department.shelves)
  const choice = {
    brand: random.whole(department.brands.length),
    line: random.whole(department.lines.length),
    kind: random.whole(shelf.kinds.length),
    variants: shelf.variants.map((names) => random.whole(names.length)),
  }
  const kind = pickAround(shelf.kinds, choice.kind)
  const variants = choice.variants.map((variant, index) => pickAround(pickAround(shelf.variants, index), variant))
  return {
    code: shelf.code,
    name: [`${pickAround(department.lines, choice.line)} ${kind.name}`, ...variants].join(', '),
    description: describe(shelf, choice),
    price: priceFor(department, shelf, choice),
    brand: pickAround(department.brands, choice.brand),
    category: [department.name, shelf.name],
  }
}

function describe({ kinds, features, notes }: Shelf, { brand, line, kind }: SampleChoice): string {
  const first = line + brand
  const second = first + 1 + (line % (features.length - 1))
  return `${pickAround(kinds, kind).name} with ${pickAround(features, first)} and ${pickAround(features, second)}. ${pickAround(notes, line + kind)}`
}

/** Brands and lines go from cheap to expensive, and so do the last variants of a shelf whose price grows with them. */
function priceFor({ brands, lines }: Department, { kinds, variants, priceGrows }: Shelf, choice: SampleChoice): string {
  const { lowest, highest } = pickAround(kinds, choice.kind)
  const positions = [choice.brand / (brands.length - 1), choice.line / (lines.length - 1)]
  if (priceGrows) positions.push((choice.variants.at(-1) ?? 0) / ((variants.at(-1)?.length ?? 1) - 1))
  const position = positions.reduce((sum, value) => sum + value, 0) / positions.length
  return (Math.ceil(lowest + position * (highest - lowest)) - pickAround(PRICE_ENDINGS, choice.brand)).toFixed(2)
}

const stockFor = (price: string, random: Random) =>
  1 + random.whole(Math.max(SMALLEST_RANGE, Math.round(LARGEST_RANGE / Math.sqrt(Number(price)))))

/** The item at `index`, counted around the end of the list. */
const pickAround = <T>(items: readonly T[], index: number): T => items[index % items.length] as T
