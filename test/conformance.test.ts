// What Django REST Framework answers over a real catalogue, replayed. The catalogue and the answers lie outside this repository.
import { createReadStream, existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { importProducts } from '../src/transfer/import.ts'
import { readNdjson } from '../src/transfer/ndjson.ts'
import { build, get, onEach } from './helper.ts'

const CATALOGUE = new URL('../../shared/data/catalogue.ndjson', import.meta.url)
const CASES = new URL('../../shared/conformance/drf-list-cases.ndjson', import.meta.url)

interface Case {
  query: string
  status: number
  count?: number
  ids?: number[]
  next?: boolean
  previous?: boolean
}

if (existsSync(CASES) && existsSync(CATALOGUE)) {
  const cases = readFileSync(CASES, 'utf8')
    .trim()
    .split('\n')
    .map((line): Case => JSON.parse(line))

  onEach('every list query is answered as by DRF', async (t, dialect) => {
    const app = await build(t, dialect)
    await importProducts(app.db, readNdjson(createReadStream(CATALOGUE)))
    for (const { query, status, ...expected } of cases) {
      const answer = await get(app, `/api/products/?${query}`)
      t.equal(answer.status, status, query)
      if (status !== 200) continue
      const { count, next, previous, results } = answer.body
      t.same({ count, ids: results.map(({ id }: { id: number }) => id), next: next !== null, previous: previous !== null }, expected, query)
    }
  })
} else {
  t.test('every list query is answered as by DRF', { skip: 'the catalogue and the recorded answers are not here' }, async () => {})
}
