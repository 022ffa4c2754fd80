// The reference page in a real browser: operations can be tried as they are offered, and nothing happens that the page's own rules forbid.
// DOCS=all tries every operation.
import { existsSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { type Browser, type CDPSession, chromium, type Locator, type Page, type Request } from 'playwright-core'
import t from 'tap'
import type { App } from '../src/http/routes.ts'
import { DIALECTS, type Dialect } from './dialects.ts'
import { authorization, build, get } from './helper.ts'

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
  '--disable-component-update',
  '--disable-sync',
]
const skip = !existsSync(CHROMIUM) && process.env.CI !== 'true' && `there is no ${CHROMIUM}`

const [sqlite] = DIALECTS as [Dialect]

/** Only to end a hang. In milliseconds. */
t.setTimeout(600_000)
const PATIENCE = 120_000

const NO_JOB = '00000000-0000-4000-8000-000000000000'

/** In an order in which each finds what it needs: the operation, the status of its answer, and what is filled in for parameters. */
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
  // The stream itself would not end: from a position that does not exist.
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

/** One of each form: a body, a parameter in the path, a merge patch, an answer without a body. */
const USUAL = ['products.create', 'products.read', 'products.merge', 'products.remove']
const tried = process.env.DOCS === 'all' ? operations : operations.filter(([operation]) => USUAL.includes(operation))

interface Opened {
  page: Page
  /** What could not be loaded, and what the browser complains of. An answer of 4xx is not to be complained of. */
  complaints: string[]
  /** The URLs that were asked for. */
  asked: string[]
  cdp: CDPSession
}

async function open(browser: Browser, url: string, width = 1_280): Promise<Opened> {
  const page = await browser.newPage({ viewport: { width, height: 900 } })
  page.setDefaultTimeout(PATIENCE)
  const complaints: string[] = []
  const asked: string[] = []
  page.on('request', (request) => asked.push(request.url()))
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
  return { page, complaints, asked, cdp }
}

let launched: Promise<Browser> | undefined

/** One browser for all tests. */
function launch(): Promise<Browser> {
  launched ??= chromium.launch({ executablePath: CHROMIUM, args: FLAGS, timeout: PATIENCE })
  return launched
}

t.teardown(async () => (await launched)?.close())

/** Milliseconds of processor time that the page has taken. It is reported, and nothing depends on it. */
async function spent(cdp: CDPSession): Promise<number> {
  const { metrics } = await cdp.send('Performance.getMetrics')
  return Math.round((metrics.find(({ name }) => name === 'TaskDuration')?.value ?? 0) * 1_000)
}

/** The same of all processes of the browser. */
async function spentByAll(browser: Browser): Promise<number> {
  const session = await browser.newBrowserCDPSession()
  const { processInfo } = await session.send('SystemInfo.getProcessInfo')
  return Math.round(processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0) * 1_000)
}

/** Opens an operation, and gives its section of the page. */
async function show(page: Page, { method, tag, path }: Place): Promise<Locator> {
  const id = `tag/${tag}/${method}${path}`
  await page.evaluate(`location.hash = ${JSON.stringify(id)}`)
  const section = page.locator(`[id$="/${id}"]`)
  await section.getByRole('button', { name: /^Test Request/ }).waitFor()
  return section
}

/** The form in which the operation of a section is tried. */
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

const rowOf = (form: Locator, parameter: string) => form.getByRole('row', { name: `Include ${parameter} in request` })

const fill = (form: Locator, parameter: string, value: string) =>
  rowOf(form, parameter).getByRole('combobox', { name: 'Value' }).fill(value)

/** Sends the form. Gives what was asked for, and the status that the page shows. */
async function send(form: Locator): Promise<{ request: Request; status: number }> {
  const answered = form.page().waitForResponse((response) => response.request().resourceType() === 'fetch')
  await form.getByRole('button', { name: SEND }).click()
  const response = await answered
  await form.getByRole('link', { name: new RegExp(`^${response.status()} `) }).waitFor()
  return { request: response.request(), status: response.status() }
}

interface Place {
  method: string
  tag: string
  path: string
}

/** Where each operation is on the page. */
async function placesOf(app: App): Promise<Map<string, Place>> {
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

t.test('operations can be tried on /docs/', { skip }, async (t) => {
  // Without a look at what the names of webhooks stand for.
  const app = await build(t, sqlite, { env: { WEBHOOK_ALLOW_PRIVATE: 'true' } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const origin = `http://${ELSEWHERE}:${port}`
  const places = await placesOf(app)
  // What a declaration gives every resource is tried on those that have rows.
  const untried = app.resources
    .map(({ table }) => table)
    .filter((tag) => !operations.some(([operation]) => operation.startsWith(`${tag}.`)))
  const triable = [...places].filter(([, { tag }]) => !untried.some((name) => name === tag)).map(([operation]) => operation)
  t.strictSame(triable.sort(), operations.map(([operation]) => operation).sort(), 'all are known to this test')
  const place = (operation: string) => places.get(operation) as Place
  const { page, complaints, asked, cdp } = await open(await launch(), `${origin}/docs/`)
  t.comment(`processor time: ${await spent(cdp)} ms to load`)

  const before = await spent(cdp)
  const list = await show(page, place('products.list'))
  t.comment(`processor time: ${(await spent(cdp)) - before} ms to open the list of products`)
  const form = await openForm(list)
  t.comment(`processor time: ${(await spent(cdp)) - before} ms with its form`)
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

  for (const [operation, status, values = {}] of tried) {
    const form = await openForm(await show(page, place(operation)))
    const inPath = place(operation).path.includes('{id}') ? { id: '1' } : {}
    for (const [parameter, value] of Object.entries({ ...inPath, ...values })) await fill(form, parameter, value)
    t.equal((await send(form)).status, status, operation)
    await closeForm(form)
  }
  t.same(complaints, [], 'nothing was asked for that could not be had, or must not be')
  t.same(
    asked.filter((url) => !url.startsWith(`${origin}/`) && !url.startsWith('data:') && !url.startsWith('blob:')),
    [],
    'nothing is asked of others',
  )

  await t.test('no script runs that is not the page’s own', async (t) => {
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
  t.comment(`processor time: ${await spentByAll(await launch())} ms of the browser so far`)
  await page.close()
})

t.test('/docs/ shows first what is needed most, on a phone too', { skip }, async (t) => {
  const app = await build(t, sqlite)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const places = await placesOf(app)
  const { page, complaints } = await open(await launch(), `${url}/docs/`, 390)
  const list = await show(page, places.get('products.list') as Place)
  const parameters = await list.locator('[id*=".query."]').evaluateAll((items) => items.map(({ id }) => id.split('.query.')[1]))
  t.strictSame(parameters.slice(0, 8), ['search', 'ordering', 'page', 'page_size', 'count', 'cursor', 'id', 'sku'])
  t.strictSame(
    parameters.filter((name) => name?.endsWith('!')),
    [],
    'negations are folded away',
  )
  t.ok(await list.getByText('Auth Optional').isVisible(), 'reading needs no key')
  const create = await show(page, places.get('products.create') as Place)
  t.ok(await create.getByText('Auth Required').isVisible(), 'writing needs one')
  t.equal(await page.evaluate('document.documentElement.scrollWidth'), 390, 'nothing is wider than the screen')
  await page.getByRole('button', { name: 'Open Menu' }).click()
  const links = page.getByRole('complementary').getByRole('link')
  await links.first().waitFor()
  const tags = (await links.evaluateAll((items) => items.map((item) => item.getAttribute('href')))).filter((href) =>
    /^#tag\/\w+$/.test(href ?? ''),
  )
  const first = ['#tag/products', '#tag/categories', '#tag/changes']
  t.strictSame([tags[0], ...tags.slice(1).filter((tag) => first.includes(tag ?? ''))], first)
  t.same(complaints, [], 'it loads from an address too')
  t.comment(`processor time: ${await spentByAll(await launch())} ms of the browser without the first page`)
})
