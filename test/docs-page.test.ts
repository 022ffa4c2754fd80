// The reference page in a real browser: its forms send working requests, and the page breaks none of its own security rules.
// DOCS=all sends the form of every operation.
import { existsSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { type Browser, type CDPSession, chromium, type Locator, type Page, type Request } from 'playwright-core'
import t from 'tap'
import type { App } from '../src/http/routes.ts'
import { DIALECTS, type Dialect } from './dialects.ts'
import { authorization, build, get } from './helper.ts'

const CHROMIUM = '/usr/bin/chromium'
/** Over plain HTTP browsers trust localhost only. Other names have stricter rules. */
const ELSEWHERE = 'stockroom.test'
const FLAGS = [
  `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`,
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
const skip = !existsSync(CHROMIUM) && process.env.CI !== 'true' && `Chromium is missing: ${CHROMIUM}`

const [sqlite] = DIALECTS as [Dialect]

/** Ends a hang. In milliseconds. */
t.setTimeout(600_000)
const PATIENCE = 120_000

const NO_JOB = '00000000-0000-4000-8000-000000000000'

/** Operations in an order in which each finds the records that it needs: the status of the answer, and values for parameters. */
const operations: [operation: string, status: number, values?: Record<string, string>][] = [
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
  // A position that does not exist, because the stream itself would not end.
  ['changes.stream', 410, { since: '1-AAAAAAAA' }],
  ['products.remove', 204],
  ['products.bulk', 200],
  ['categories.merge', 200],
  ['categories.remove', 204],
  ['keys.create', 201],
  ['keys.list', 200],
  ['keys.read', 200, { id: '2' }],
  ['keys.merge', 200, { id: '2' }],
  ['keys.rotate', 200, { id: '2' }],
  ['keys.remove', 204, { id: '2' }],
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
  ['jobs.read', 404, { id: NO_JOB }],
  ['jobs.retry', 404, { id: NO_JOB }],
  ['service.live', 200],
  ['service.ready', 200],
  ['service.openapi', 200],
  ['service.root', 200],
]

/** A sample with every form: a body, a parameter in the path, a merge patch, an answer without a body. */
const ONE_OF_EACH_FORM = ['products.create', 'products.read', 'products.merge', 'products.remove']
const selected = process.env.DOCS === 'all' ? operations : operations.filter(([operation]) => ONE_OF_EACH_FORM.includes(operation))

interface OpenPage {
  page: Page
  /** URLs that failed to load, and messages of the browser, without those about answers of 4xx. */
  complaints: string[]
  /** The requested URLs. */
  requestUrls: string[]
  cdp: CDPSession
}

async function open(browser: Browser, url: string, width = 1_280): Promise<OpenPage> {
  const page = await browser.newPage({ viewport: { width, height: 900 } })
  page.setDefaultTimeout(PATIENCE)
  const complaints: string[] = []
  const requestUrls: string[] = []
  page.on('request', (request) => requestUrls.push(request.url()))
  page.on('requestfailed', (request) => complaints.push(request.url()))
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => {
    const isExpected = message.type() === 'info' || /^Failed to load resource: the server responded with a status of 4/.test(message.text())
    if (!isExpected) complaints.push(message.text())
  })
  const cdp = await page.context().newCDPSession(page)
  await cdp.send('Performance.enable', { timeDomain: 'threadTicks' })
  await page.goto(url)
  await page.getByRole('heading', { name: 'Stockroom', exact: true }).waitFor()
  return { page, complaints, requestUrls, cdp }
}

let browser: Promise<Browser> | undefined

/** Starts the browser at the first call. All tests share it. */
function launch(): Promise<Browser> {
  browser ??= chromium.launch({ executablePath: CHROMIUM, args: FLAGS, timeout: PATIENCE })
  return browser
}

t.teardown(async () => (await browser)?.close())

/** Returns the processor time of the page, in milliseconds. It is reported, and no assertion depends on it. */
async function measurePageTime(cdp: CDPSession): Promise<number> {
  const { metrics } = await cdp.send('Performance.getMetrics')
  return Math.round((metrics.find(({ name }) => name === 'TaskDuration')?.value ?? 0) * 1_000)
}

/** Returns the processor time of all processes of the browser, in milliseconds. */
async function measureBrowserTime(browser: Browser): Promise<number> {
  const session = await browser.newBrowserCDPSession()
  const { processInfo } = await session.send('SystemInfo.getProcessInfo')
  return Math.round(processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0) * 1_000)
}

/** Opens an operation. Returns its section of the page. */
async function show(page: Page, { method, tag, path }: Place): Promise<Locator> {
  const id = `tag/${tag}/${method}${path}`
  await page.evaluate(`location.hash = ${JSON.stringify(id)}`)
  const section = page.locator(`[id$="/${id}"]`)
  await section.getByRole('button', { name: /^Test Request/ }).waitFor()
  return section
}

/** Opens the form that sends requests for the operation of a section. */
async function openForm(section: Locator): Promise<Locator> {
  await section.getByRole('button', { name: /^Test Request/ }).click()
  const form = section.page().getByRole('dialog', { name: 'API Client' })
  await form.getByRole('button', { name: SEND }).waitFor()
  return form
}

const SEND = /^Send \w+ request to /

async function closeForm(form: Locator): Promise<void> {
  await form.getByRole('button', { name: 'Close Client' }).click()
  await form.waitFor({ state: 'hidden' })
}

const findRow = (form: Locator, parameter: string) => form.getByRole('row', { name: `Include ${parameter} in request` })

const fill = (form: Locator, parameter: string, value: string) =>
  findRow(form, parameter).getByRole('combobox', { name: 'Value' }).fill(value)

/** Sends the form. Returns the request, and the status that the page shows. */
async function send(form: Locator): Promise<{ request: Request; status: number }> {
  const answer = form.page().waitForResponse((response) => response.request().resourceType() === 'fetch')
  await form.getByRole('button', { name: SEND }).click()
  const response = await answer
  await form.getByRole('link', { name: new RegExp(`^${response.status()} `) }).waitFor()
  return { request: response.request(), status: response.status() }
}

interface Place {
  method: string
  tag: string
  path: string
}

/** Returns the place of each operation on the page. */
async function findPlaces(app: App): Promise<Map<string, Place>> {
  const { paths } = (await get(app, '/openapi.json')).body as { paths: Record<string, Record<string, { operationId: string }>> }
  return new Map(
    Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, { operationId }]): [string, Place] => {
        const [tag = ''] = operationId.split('.')
        return [operationId, { method: method.toUpperCase(), tag, path }]
      }),
    ),
  )
}

t.test('every form of an operation on /docs/ sends a working request', { skip }, async (t) => {
  // Names in URLs of webhooks are not looked up.
  const app = await build(t, sqlite, { env: { WEBHOOK_ALLOW_PRIVATE: 'true' } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const origin = `http://${ELSEWHERE}:${port}`
  const places = await findPlaces(app)
  // Operations that every resource has are sent for the resources of the list only.
  const otherTags = app.resources
    .map(({ table }) => table)
    .filter((tag) => !operations.some(([operation]) => operation.startsWith(`${tag}.`)))
  const listed = [...places].filter(([, { tag }]) => !otherTags.some((name) => name === tag)).map(([operation]) => operation)
  t.strictSame(listed.sort(), operations.map(([operation]) => operation).sort(), 'the list has every operation')
  const place = (operation: string) => places.get(operation) as Place
  const { page, complaints, requestUrls, cdp } = await open(await launch(), `${origin}/docs/`)
  t.comment(`processor time: ${await measurePageTime(cdp)} ms to load`)

  const before = await measurePageTime(cdp)
  const list = await show(page, place('products.list'))
  t.comment(`processor time: ${(await measurePageTime(cdp)) - before} ms to open the list of products`)
  const form = await openForm(list)
  t.comment(`processor time: ${(await measurePageTime(cdp)) - before} ms with its form`)
  const anonymous = await send(form)
  t.equal(anonymous.status, 200, 'reading needs no key')
  t.equal(anonymous.request.headers().authorization, undefined, 'an empty key is not sent')
  t.equal(new URL(anonymous.request.url()).search, '?ordering=id&page=1&page_size=20&count=bounded', 'an empty field sends nothing')
  await fill(form, 'price__gte', '50')
  await fill(form, 'brand__in', '"Smith, Sons"')
  await form.getByRole('row', { name: 'Include row in request' }).last().getByRole('combobox', { name: 'Key' }).fill('brand!')
  await fill(form, 'brand!', 'Acme')
  const { searchParams } = new URL((await send(form)).request.url())
  t.equal(searchParams.get('price__gte'), '50', 'a number is sent as it is written')
  t.equal(searchParams.get('brand__in'), '"Smith, Sons"', 'a list is sent in one parameter')
  t.equal(searchParams.get('brand!'), 'Acme', 'a negation can be written by hand')
  await form.getByRole('textbox', { name: 'Bearer Token' }).fill(authorization(app).authorization.replace('Bearer ', ''))
  await closeForm(form)

  for (const [operation, status, values = {}] of selected) {
    const form = await openForm(await show(page, place(operation)))
    const inPath = place(operation).path.includes('{id}') ? { id: '1' } : {}
    for (const [parameter, value] of Object.entries({ ...inPath, ...values })) await fill(form, parameter, value)
    t.equal((await send(form)).status, status, operation)
    await closeForm(form)
  }
  t.same(complaints, [], 'every request is allowed and succeeds')
  t.same(
    requestUrls.filter((url) => !url.startsWith(`${origin}/`) && !url.startsWith('data:') && !url.startsWith('blob:')),
    [],
    'no request leaves the service',
  )

  await t.test('only the scripts of the page run', async (t) => {
    await page.evaluate(`{
      const add = (name, members) => document.body.append(Object.assign(document.createElement(name), members))
      add('script', { textContent: 'document.title = "inline"' })
      add('div', { innerHTML: '<img src="data:," onerror="document.title = 1">' })
      add('script', { src: 'http://${ELSEWHERE}/x.js' })
    }`)
    const findViolations = () => complaints.filter((text) => /violates the following Content Security Policy/.test(text))
    while (findViolations().length < 3) await page.waitForEvent('console')
    t.equal(await page.title(), 'Stockroom API')
  })
  t.comment(`processor time: ${await measureBrowserTime(await launch())} ms of the browser so far`)
  await page.close()
})

t.test('/docs/ shows common parameters and resources first, on a phone too', { skip }, async (t) => {
  const app = await build(t, sqlite)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const places = await findPlaces(app)
  const { page, complaints } = await open(await launch(), `${url}/docs/`, 390)
  const list = await show(page, places.get('products.list') as Place)
  const parameters = await list.locator('[id*=".query."]').evaluateAll((items) => items.map(({ id }) => id.split('.query.')[1]))
  t.strictSame(parameters.slice(0, 8), ['search', 'ordering', 'page', 'page_size', 'count', 'cursor', 'id', 'sku'])
  t.strictSame(
    parameters.filter((name) => name?.endsWith('!')),
    [],
    'negations are hidden',
  )
  t.ok(await list.getByText('Auth Optional').isVisible(), 'reading needs no key')
  const create = await show(page, places.get('products.create') as Place)
  t.ok(await create.getByText('Auth Required').isVisible(), 'writing needs a key')
  t.equal(await page.evaluate('document.documentElement.scrollWidth'), 390, 'nothing is wider than the screen')
  await page.getByRole('button', { name: 'Open Menu' }).click()
  const links = page.getByRole('complementary').getByRole('link')
  await links.first().waitFor()
  const tags = (await links.evaluateAll((items) => items.map((item) => item.getAttribute('href')))).filter((href) =>
    /^#tag\/\w+$/.test(href ?? ''),
  )
  const first = ['#tag/products', '#tag/categories', '#tag/changes']
  t.strictSame([tags[0], ...tags.slice(1).filter((tag) => first.includes(tag ?? ''))], first)
  t.same(complaints, [], 'it also loads from an IP address')
  t.comment(`processor time: ${await measureBrowserTime(await launch())} ms of the browser without the first page`)
})
