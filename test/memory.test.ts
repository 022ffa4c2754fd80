// Memory of what clients ask for is limited by counted bytes, whatever they ask for.
import t from 'tap'
import { countMemoryBytes, MAX_KEY_LENGTH, MEMORY_BYTES, Memory } from '../drizzle/memory.ts'
import { build, get, onEach } from './helper.ts'

t.test('memories share one limit, and filling one leaves the others', async (t) => {
  const [flooded, other] = [new Memory<string>(), new Memory<string>()]
  other.set('known', 'value')
  const size = Math.floor(MEMORY_BYTES / 50)
  for (let index = 0; index < 120; index++) {
    flooded.set(`key ${index}`, 'value', size)
    t.ok(countMemoryBytes() <= MEMORY_BYTES, `after ${index + 1} entries`)
  }
  t.equal(other.get('known'), 'value')
  t.equal(flooded.get('key 0'), undefined, 'the oldest entries are forgotten first')
  t.equal(flooded.get('key 119'), 'value')
  t.ok(flooded.size > 40, `${flooded.size} entries are remembered`)
})

t.test('long keys and large entries are not remembered', async (t) => {
  const memory = new Memory<string>()
  memory.set('k'.repeat(MAX_KEY_LENGTH + 1), 'value')
  memory.set('large', 'value', MEMORY_BYTES / 8)
  t.equal(memory.bytes, 0)
  memory.set('k'.repeat(MAX_KEY_LENGTH), 'value')
  t.equal(memory.size, 1)
})

const TIMES = 40

/** Queries that leave different entries in memory. Each number gives another query. */
const QUERIES: Record<string, (number: number) => string> = {
  'long values': (number) => `sku!=${number}${'/'.repeat(7_000)}`,
  'values that are just remembered': (number) => `sku!=${number}${'/'.repeat(600)}`,
  'pages beside each other': (number) => `stock__gte=${number}&page_size=1&ordering=-name`,
  'lists of values': (number) => `id__in!=${Array.from({ length: 90 }, (_, index) => number * 100 + index)}`,
}

onEach('lists that are requested once do not accumulate in memory', async (t, dialect) => {
  const app = await build(t, dialect, { env: { CACHE_TTL: '0' } })
  for (const [title, query] of Object.entries(QUERIES)) {
    const before = countMemoryBytes()
    for (let number = 0; number < TIMES; number++) t.equal((await get(app, `/api/products/?${query(number)}`)).status, 200)
    t.ok(countMemoryBytes() <= MEMORY_BYTES)
    if (title === 'long values') t.ok(countMemoryBytes() - before < TIMES * 1_000, 'long values are not remembered')
  }
})
