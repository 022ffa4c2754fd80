// The documentation page in a real browser: every operation on it can be tried, as it is offered.
import { existsSync } from 'node:fs'
import { chromium, type Locator } from 'playwright-core'
import t from 'tap'
import { DIALECTS } from './dialects.ts'
import { build } from './helper.ts'

const CHROMIUM = '/usr/bin/chromium'
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-sync']
const skip = !existsSync(CHROMIUM) && process.env.CI !== 'true' && `there is no ${CHROMIUM}`

/** In an order in which each finds what it needs, with the status of its answer. */
const operations: [string, number][] = [
  ['categories.create', 201],
  ['categories.list', 200],
  ['categories.read', 200],
  ['categories.replace', 200],
  ['products.create', 201],
  ['products.list', 200],
  ['products.read', 200],
  ['products.replace', 200],
  ['products.merge', 200],
  ['products.remove', 204],
  ['categories.merge', 409],
  ['categories.remove', 204],
  ['service.live', 200],
  ['service.ready', 200],
  ['service.openapi', 200],
]

t.test('every operation can be tried on /docs/', { skip }, async (t) => {
  const [sqlite] = DIALECTS
  if (!sqlite) throw new Error('no database to serve from')
  const app = await build(t, sqlite)
  const url = await app.listen({ port: 0 })
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS })
  t.teardown(() => browser.close())
  const page = await browser.newPage()
  const failed: string[] = []
  page.on('requestfailed', (request) => failed.push(request.url()))
  await page.goto(`${url}/docs/`)
  await page.locator('.opblock').first().waitFor()

  t.equal(await page.locator('.opblock').count(), operations.length, 'all are on the page')
  for (const [operation, status] of operations) {
    const [tag, name] = operation.split('.')
    const block = page.locator(`.opblock[id$="${tag}-${tag}\\\\.${name}"]`)
    t.equal(await tryOut(block), String(status), operation)
    if (operation === 'products.list') await tryFilters(block)
    // Every open operation slows down all the others.
    await block.locator('.opblock-summary-control').click()
  }
  t.same(failed, [], 'nothing was asked for that could not be had')

  async function tryFilters(block: Locator) {
    t.equal(new URL(await asked(block)).search, '?ordering=id&page=1&page_size=20&count=bounded', 'an empty field sends nothing')
    const filter = (parameter: string) => block.locator(`tr[data-param-name="${parameter}"]`)
    await filter('price__gte').locator('input').fill('50')
    await filter('brand__in!').locator('button').click()
    await filter('brand__in!').locator('input').fill('"Smith, Sons"')
    await execute(block)
    const { searchParams } = new URL(await asked(block))
    t.equal(searchParams.get('price__gte'), '50', 'a number is sent as it is written')
    t.equal(searchParams.get('brand__in!'), '"Smith, Sons"', 'a list is sent in one parameter')
  }
})

/** Opens an operation and gives the status of its answer. */
async function tryOut(block: Locator): Promise<string> {
  await block.locator('.opblock-summary-control').click()
  await block.locator('button.execute').waitFor()
  return execute(block)
}

/** Fills in an id where the operation takes one. A page that is still drawing loses what is typed, and asks for nothing: then once more. */
async function execute(block: Locator): Promise<string> {
  const id = block.locator('tr[data-param-name="id"][data-param-in="path"] input')
  const status = block.locator('.live-responses-table tbody .response-col_status')
  for (let attempt = 1; ; attempt++) {
    if ((await id.count()) > 0) await id.fill('1')
    await block.locator('button.execute').click()
    try {
      await status.waitFor({ timeout: 3_000 })
      return ((await status.textContent()) ?? '').trim().slice(0, 3)
    } catch (error) {
      if (attempt === 5) throw error
    }
  }
}

const asked = async (block: Locator): Promise<string> => (await block.locator('.request-url pre').textContent()) ?? ''
