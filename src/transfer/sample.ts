// A made-up catalogue, the same every time.
import { en, Faker } from '@faker-js/faker'
import type { Line } from './ndjson.ts'

const SEED = 20_260_101
const DEPARTMENTS = 8
const SHELVES = 4
/** One product in so many belongs to no category, and one is sold out. */
const WITHOUT_CATEGORY = 50
const SOLD_OUT = 10

/** `count` products, as lines of an import. */
export async function* sampleProducts(count: number): AsyncGenerator<Line> {
  const faker = new Faker({ locale: en, seed: SEED })
  const departments = faker.helpers.uniqueArray(() => faker.commerce.department(), DEPARTMENTS)
  const paths = departments.flatMap((department) =>
    faker.helpers.uniqueArray(() => faker.commerce.productAdjective(), SHELVES).map((shelf) => [department, shelf]),
  )
  const brands = faker.helpers.uniqueArray(() => faker.company.name(), 40)
  for (let number = 1; number <= count; number++) {
    const value = {
      sku: `SAMPLE-${String(number).padStart(6, '0')}`,
      name: faker.commerce.productName(),
      description: faker.commerce.productDescription(),
      price: faker.commerce.price({ min: 1, max: 500 }),
      stock: number % SOLD_OUT === 0 ? 0 : faker.number.int({ min: 1, max: 500 }),
      brand: faker.helpers.arrayElement(brands),
      category: number % WITHOUT_CATEGORY === 0 ? [] : faker.helpers.arrayElement(paths),
    }
    yield { number, value }
  }
}
