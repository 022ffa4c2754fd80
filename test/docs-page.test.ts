// The documentation page in a real browser: operations on it can be tried, as they are offered, and nothing that its own rules forbid.
// DOCS=all tries those too that are offered for another resource in the same way.
import { existsSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { type Browser, chromium, type Locator, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { DIALECTS, type Dialect } from './dialects.ts'
import { authorization, build } from './helper.ts'

const CHROMIUM = '/usr/bin/chromium'
/** By plain HTTP a browser trusts no name but localhost, and forbids more elsewhere. */
const ELSEWHERE = 'stockroom.test'
const FLAGS = [
  `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`,
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-sync',
]
const skip = !existsSync(CHROMIUM) && process.env.CI !== 'true' && `there is no ${CHROMIUM}`

const [sqlite] = DIALECTS as [Dialect]

/** In an order in which each finds what it needs, with the status of its answer, and a record that is not the first. */
const operations: [operation: string, status: number, id?: string, since?: string][] = [
  ['categories.create', 201],
  ['categories.list', 200],
  ['categories.read', 200],
  ['categories.replace', 200],
  ['categories.history', 200],
  ['categories.restore', 200],
  ['products.create', 201],
  ['products.list', 200],
  ['products.read', 200],
  ['products.replace', 200],
  ['products.merge', 200],
  ['products.cached_detail', 200],
  ['products.stock', 200],
  ['products.notify_update', 202],
  ['products.history', 200],
  ['products.restore', 200],
  ['changes.feed', 200],
  // The stream itself would not end: from a position that is none.
  ['changes.stream', 410, '1', '1-AAAAAAAA'],
  ['products.remove', 204],
  ['products.bulk', 200],
  ['categories.merge', 409],
  ['categories.remove', 204],
  ['keys.create', 201],
  ['keys.list', 200],
  ['keys.read', 200, '2'],
  ['keys.merge', 200, '2'],
  ['keys.rotate', 200, '2'],
  ['keys.remove', 204, '2'],
  ['webhooks.create', 201],
  ['webhooks.list', 200],
  ['webhooks.read', 200],
  ['webhooks.merge', 200],
  ['webhooks.rotate', 200],
  ['webhooks.test', 202],
  ['webhooks.replay', 202],
  ['deliveries.list', 200],
  ['deliveries.read', 200],
  ['deliveries.replay', 202],
  ['webhooks.remove', 204],
  ['jobs.list', 200],
  ['jobs.read', 404, '00000000-0000-4000-8000-000000000000'],
  ['jobs.retry', 404, '00000000-0000-4000-8000-000000000000'],
  ['service.live', 200],
  ['service.ready', 200],
  ['service.openapi', 200],
  ['service.root', 200],
]

/** What a declaration gives every resource is tried on products: each takes a browser seconds. */
const ALIKE = [
  ...['list', 'read', 'replace', 'history', 'restore'].map((name) => `categories.${name}`),
  ...['keys', 'webhooks'].flatMap((tag) => ['list', 'read', 'merge'].map((name) => `${tag}.${name}`)),
  ...['list', 'read'].map((name) => `deliveries.${name}`),
]
const tried = process.env.DOCS === 'all' ? operations : operations.filter(([operation]) => !ALIKE.includes(operation))

/** Opens the page, and notes what could not be loaded and what the browser complains of. An answer of 4xx is not to be complained of. */
async function open(browser: Browser, url: string): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage()
  const complaints: string[] = []
  page.on('requestfailed', (request) => complaints.push(request.url()))
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => {
    if (!/^Failed to load resource: the server responded with a status of 4/.test(message.text())) complaints.push(message.text())
  })
  await page.goto(url)
  await page.locator('.opblock').first().waitFor()
  return { page, complaints }
}

async function launch(t: Test): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS })
  t.teardown(() => browser.close())
  return browser
}

/** Milliseconds: each of some fifty operations takes a browser some seconds. */
t.setTimeout(600_000)

t.test('operations can be tried on /docs/', { skip }, async (t) => {
  // Without a look at what the names of webhooks stand for.
  const app = await build(t, sqlite, { env: { WEBHOOK_ALLOW_PRIVATE: 'true' } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const { page, complaints } = await open(await launch(t), `http://${ELSEWHERE}:${port}/docs/`)
  await page.locator('.btn.authorize').click()
  await page.locator('.auth-container input').fill(authorization(app).authorization.replace('Bearer ', ''))
  await page.locator('.auth-btn-wrapper .authorize').click()
  await page.locator('.auth-btn-wrapper .btn-done').click()

  t.equal(await page.locator('.opblock').count(), operations.length, 'all are on the page')
  // What is not on the page does not slow it down: one tag at a time.
  const header = (tag: string) => page.locator(`#operations-tag-${tag}`)
  const tags = new Set(operations.map(([operation]) => operation.split('.')[0] as string))
  for (const tag of tags) await header(tag).click()
  let shown = ''
  for (const [operation, status, id, since] of tried) {
    const [tag, name] = operation.split('.')
    if (shown !== tag) {
      if (shown !== '') await header(shown).click()
      await header(String(tag)).click()
      shown = String(tag)
    }
    const block = page.locator(`.opblock[id$="${tag}-${tag}\\\\.${name}"]`)
    t.equal(await tryOut(block, id, since), String(status), operation)
    if (operation === 'products.list') await tryFilters(block)
    // Every open operation slows down all the others.
    await block.locator('.opblock-summary-control').click()
  }
  t.same(complaints, [], 'nothing was asked for that could not be had, or must not be')

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
async function tryOut(block: Locator, id?: string, since?: string): Promise<string> {
  await block.locator('.opblock-summary-control').click()
  await block.locator('button.execute').waitFor()
  if (since) await block.locator('tr[data-param-name="since"] input').fill(since)
  return execute(block, id)
}

/** Fills in an id where the operation takes one. A page that is still drawing loses what is typed, and asks for nothing: then once more. */
async function execute(block: Locator, id = '1'): Promise<string> {
  const field = block.locator('tr[data-param-name="id"][data-param-in="path"] input')
  const status = block.locator('.live-responses-table tbody .response-col_status')
  for (let attempt = 1; ; attempt++) {
    if ((await field.count()) > 0) await field.fill(id)
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

t.test('no script runs on /docs/ that is not the page’s own', { skip }, async (t) => {
  const app = await build(t, sqlite)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const { page, complaints } = await open(await launch(t), `${url}/docs/`)
  t.same(complaints, [], 'it loads from an address too')
  await page.evaluate(`{
    const add = (name, members) => document.body.append(Object.assign(document.createElement(name), members))
    add('script', { textContent: 'document.title = "inline"' })
    add('div', { innerHTML: '<img src="data:," onerror="document.title = 1">' })
    add('script', { src: 'http://${ELSEWHERE}/x.js' })
  }`)
  const refused = () => complaints.filter((text) => /violates the following Content Security Policy/.test(text))
  while (refused().length < 3) await page.waitForEvent('console')
  t.equal(await page.title(), 'Stockroom API')
})
