// The OpenAPI document compared with the service: its routes, its answers and generated clients.
import { execFile } from 'node:child_process'
import diagnostics from 'node:diagnostics_channel'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { sql } from 'drizzle-orm'
import type { FastifyInstance, InjectOptions, RouteOptions } from 'fastify'
import t, { type Test } from 'tap'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import { EVENT_STREAM } from '../../src/feed/schemas.ts'
import type { App } from '../../src/http/routes.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { authorization, build, get, onEach } from '../helper.ts'

/** The database of tests whose result does not depend on it. */
const [embedded] = DIALECTS as [Dialect]

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

interface Operation {
  operationId: string
  parameters?: { name: string; in: string; required?: boolean; style?: string; explode?: boolean; schema: { type?: unknown } }[]
  requestBody?: { content: Record<string, object> }
  responses: Record<string, { description: string; headers?: Record<string, object>; content?: Record<string, object> }>
}

interface Document {
  openapi: string
  servers: { url: string }[]
  paths: Record<string, Record<string, Operation>>
  components: Record<string, Record<string, object>>
}

const readDocument = async (app: App): Promise<Document> => (await get(app, '/openapi.json')).body

/** Returns the document with references of responses and headers replaced by their targets. */
async function readResolved(app: App): Promise<Document> {
  const document = await readDocument(app)
  const at = <T>(value: T): T => {
    const [, section, name] = /^#\/components\/(\w+)\/(.+)$/.exec((value as { $ref?: string }).$ref ?? '') ?? []
    return section && name ? (document.components[section]?.[name] as T) : value
  }
  for (const { operation } of listOperations(document)) {
    operation.responses = mapValues(operation.responses, at)
    for (const response of Object.values(operation.responses)) response.headers &&= mapValues(response.headers, at)
  }
  return document
}

const mapValues = <T>(values: Record<string, T>, replace: (value: T) => T): Record<string, T> =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [key, replace(value)]))

const listOperations = ({ paths }: Document) =>
  Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  )

/** Builds the application and collects its routes. */
async function buildWithRoutes(t: Test): Promise<{ app: App; routes: RouteOptions[] }> {
  const routes: RouteOptions[] = []
  const note = (message: unknown) => {
    ;(message as { fastify: FastifyInstance }).fastify.addHook('onRoute', (route) => void routes.push(route))
  }
  diagnostics.subscribe('fastify.initialization', note)
  t.teardown(() => diagnostics.unsubscribe('fastify.initialization', note))
  return { app: await build(t, embedded), routes }
}

const listMethods = ({ method }: RouteOptions): string[] => [method].flat()
/** Converts a path of the router or the document to one form. */
const normalisePath = (path: string) => path.replace(/:(\w+)/g, '{$1}').replace(/(.)\/$/, '$1')
const isDocsPage = ({ url }: RouteOptions) => /^\/docs(\/|$)/.test(url)

const run = (script: string, args: string[], cwd = ROOT) =>
  new Promise<{ code: number; output: string }>((resolve) => {
    const child = execFile(
      process.execPath,
      [join(ROOT, 'node_modules', script), ...args],
      { cwd, env: { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode ?? 1, output: stdout || stderr }),
    )
  })

t.test('the document is valid OpenAPI 3.1 without warnings', async (t) => {
  const app = await build(t, embedded)
  const document = await readDocument(app)
  t.equal(document.openapi, '3.1.0')
  const folder = t.testdir({ 'openapi.json': JSON.stringify(document) })
  const { code, output } = await run('@redocly/cli/bin/cli.js', [
    'lint',
    join(folder, 'openapi.json'),
    '--config',
    'redocly.yaml',
    '--format',
    'json',
  ])
  const { totals, problems } = JSON.parse(output)
  t.strictSame(problems, [])
  t.strictSame([code, totals], [0, { errors: 0, warnings: 0, ignored: 0 }])
})

t.test('spectral:oas finds no error in the document', async (t) => {
  const document = await readDocument(await build(t, embedded))
  const folder = t.testdir({ 'openapi.json': JSON.stringify(document), 'ruleset.json': JSON.stringify({ extends: ['spectral:oas'] }) })
  const { output } = await run(
    '@stoplight/spectral-cli/dist/index.js',
    ['lint', 'openapi.json', '--ruleset', 'ruleset.json', '--format', 'json', '--quiet'],
    folder,
  )
  const findings: { severity: number }[] = JSON.parse(output)
  t.ok(findings.length > 0, 'spectral ran, since it reports warnings')
  t.strictSame(
    findings.filter(({ severity }) => severity === 0),
    [],
  )
})

t.test('names of components are identifiers', async (t) => {
  const { components } = await readDocument(await build(t, embedded))
  const names = Object.entries(components).flatMap(([section, sectionComponents]) =>
    Object.keys(sectionComponents).map((name) => `${section} ${name}`),
  )
  t.strictSame(
    names.filter((name) => !/^\w+ [A-Za-z][A-Za-z0-9]*$/.test(name)),
    [],
  )
  for (const name of ['NotFound', 'NotUnique', 'Forbidden', 'NoContent', 'JobAccepted']) t.ok(components.responses?.[name], name)
})

t.test('the document describes every route and nothing else', async (t) => {
  const { app, routes } = await buildWithRoutes(t)
  const served = routes
    // `/` only redirects.
    .filter((route) => !isDocsPage(route) && route.url !== '/')
    .flatMap((route) => listMethods(route).map((method) => `${method} ${normalisePath(route.url)}`))
    .filter((route) => !route.startsWith('HEAD '))
  const documented = listOperations(await readDocument(app)).map(({ method, path }) => `${method} ${normalisePath(path)}`)
  t.strictSame(documented.sort(), [...new Set(served)].sort())
  t.ok(documented.length >= 15)
})

t.test('OPTIONS names the methods of every route', async (t) => {
  const { app, routes } = await buildWithRoutes(t)
  for (const url of new Set(routes.map(({ url }) => url))) {
    const of = routes.filter((route) => normalisePath(route.url) === normalisePath(url))
    const { statusCode, headers, body } = await app.inject({ method: 'OPTIONS', url: url.replace(':id', '1').replace('*', 'index.css') })
    const allow = String(headers.allow).split(', ')
    t.strictSame([statusCode, body, allow.sort()], [204, '', [...new Set(of.flatMap(listMethods)), 'OPTIONS'].sort()], url)
  }
})

t.test('the document describes every parameter that a route reads, and no other', async (t) => {
  const { app, routes } = await buildWithRoutes(t)
  const document = await readDocument(app)
  for (const { method, path, operation } of listOperations(document)) {
    const route = routes.find((route) => normalisePath(route.url) === normalisePath(path) && listMethods(route).includes(method))
    const { querystring } = (route?.schema ?? {}) as { querystring?: { properties: Record<string, object> } }
    const parameters = operation.parameters ?? []
    const query = parameters.filter((parameter) => parameter.in === 'query')
    t.strictSame(query.map(({ name }) => name).sort(), Object.keys(querystring?.properties ?? {}).sort(), `${method} ${path}`)
    t.strictSame(
      query.filter(({ required }) => required),
      [],
      'no parameter is required',
    )
    t.strictSame(
      parameters.filter((parameter) => parameter.in === 'path').map(({ name, required }) => [name, required]),
      path.includes('{id}') ? [['id', true]] : [],
    )
    for (const { name, schema, style, explode } of query.filter(({ schema }) => schema.type === 'array')) {
      t.strictSame([style, explode], ['form', false], `${name} is separated by commas`)
      t.notOk('style' in schema || 'explode' in schema)
    }
  }
  const lists = listOperations(document).filter(({ operation }) => /^(products|categories|keys)\.list$/.test(operation.operationId))
  t.ok(lists.length >= 2 && lists.every(({ operation }) => (operation.parameters ?? []).length > 20))
})

/** Yields every object in a document, with the names that lead to it. */
function* walk(value: unknown, at: string[] = []): Generator<{ at: string[]; object: Record<string, unknown> }> {
  if (typeof value !== 'object' || value === null) return
  yield { at, object: value as Record<string, unknown> }
  for (const [key, inner] of Object.entries(value)) yield* walk(inner, [...at, key])
}

t.test('the document uses only OpenAPI keywords and repeats nothing', async (t) => {
  const app = await build(t, embedded, { env: { PUBLIC_URL: 'https://shop.test' } })
  const document = await readDocument(app)
  const objects = [...walk(document)]
  // Descriptions explain our own keywords. Tools ignore names that begin with x-.
  const extensions = objects.flatMap(({ object }) => Object.keys(object).filter((key) => key.startsWith('x-')))
  t.strictSame([...new Set(extensions)].sort(), ['x-decimal', 'x-nesting', 'x-optional', 'x-time', 'x-trimmed'])
  t.notMatch(JSON.stringify(document), /"\$id"|"def-\d|undefined|\[object/)

  const ids = listOperations(document).map(({ operation }) => operation.operationId)
  t.equal(new Set(ids).size, ids.length, 'operationIds are unique')
  // Ids of other resources consist of the resource's name and the same words.
  const added = app.resources.flatMap(({ table }) =>
    ['bulk', 'create', 'history', 'list', 'merge', 'read', 'remove', 'replace', 'restore'].map((name) => `${table}.${name}`),
  )
  const listedResources = ['categories', 'products', 'keys', 'webhooks', 'deliveries']
  const others = added.filter((id) => ids.includes(id) && !listedResources.includes(id.split('.')[0] ?? ''))
  t.strictSame(
    ids.sort(),
    [
      ...others,
      ...['create', 'list', 'merge', 'read', 'remove', 'replace'].flatMap((name) => [`categories.${name}`, `products.${name}`]),
      ...['create', 'list', 'merge', 'read', 'remove', 'rotate'].map((name) => `keys.${name}`),
      ...['bulk', 'cached_detail', 'notify_update', 'stock'].map((name) => `products.${name}`),
      ...['create', 'list', 'merge', 'read', 'remove', 'replay', 'rotate', 'test'].map((name) => `webhooks.${name}`),
      ...['list', 'read', 'replay'].map((name) => `deliveries.${name}`),
      ...['list', 'read', 'retry'].map((name) => `jobs.${name}`),
      ...['history', 'restore'].flatMap((name) => [`categories.${name}`, `products.${name}`]),
      'changes.feed',
      'changes.stream',
      'service.live',
      'service.openapi',
      'service.ready',
      'service.root',
    ].sort(),
    'operationIds are stable',
  )

  const referenced = objects.flatMap(({ object }) => (typeof object.$ref === 'string' ? [object.$ref] : []))
  const { securitySchemes, ...sections } = document.components
  const components = Object.entries(sections).flatMap(([section, sectionComponents]) =>
    Object.keys(sectionComponents).map((name) => `#/components/${section}/${name}`),
  )
  t.strictSame([...new Set(referenced)].sort(), components.sort(), 'every component is used, and every reference resolves')
  t.strictSame(Object.keys(sections).sort(), ['headers', 'responses', 'schemas'])
  const componentNames = Object.values(sections).flatMap(Object.keys)
  t.strictSame(
    componentNames.filter((name) => /\d$/.test(name)),
    [],
    'no component has a numbered name',
  )
  for (const name of ['NotModifiedWithLastModified', 'PreconditionFailedETag', 'AcceptedLocation'])
    t.ok(componentNames.includes(name), name)
  t.ok(securitySchemes)
  for (const section of ['headers', 'responses'])
    for (const { at, object } of objects.filter(({ at }) => at[0] === 'paths' && at.at(-2) === section)) {
      const text = JSON.stringify(object)
      const same = Object.values(sections[section] ?? {}).filter((component) => JSON.stringify(component) === text)
      t.strictSame(same, [], `${at.join(' ')}: repeats no component`)
    }
  t.strictSame(document.servers, [{ url: 'https://shop.test' }])
})

const JSON_TYPE = 'application/json'
const MERGE_PATCH = 'application/merge-patch+json'
const product = { name: 'Shirt', price: '29.90', sku: 'A' }
const bulk = (...operations: object[]) => ({ operations })

type Row = [operation: string, url: string, status: number, body?: string | object, type?: string, headers?: Record<string, string>]

/** Adds request headers to a row. */
const withHeaders = (headers: Record<string, string>, [operation, url, status, body, type = JSON_TYPE]: Row): Row => [
  operation,
  url,
  status,
  body,
  type,
  headers,
]
const OTHER = { 'if-match': '"another"' }
const ANY = { 'if-none-match': '*' }
const withIdempotencyKey = (key: string, row: Row): Row => withHeaders({ 'idempotency-key': `"${key}"` }, row)

/** Requests in order. Every operation meets every status that its document names, except those of ELSEWHERE. */
const requests: Row[] = [
  ['categories.create', '/api/categories/', 201, { name: 'Clothing' }],
  ['categories.create', '/api/categories/', 201, { name: 'Shirts', parent: 1 }],
  ['categories.create', '/api/categories/', 400, { nam: 'x' }],
  ['categories.create', '/api/categories/', 400, '{'],
  ['categories.create', '/api/categories/', 409, { name: 'Clothing' }],
  ['categories.create', '/api/categories/', 413, { name: 'x'.repeat(2_000) }],
  ['categories.create', '/api/categories/', 415, 'x', 'text/plain'],
  ['categories.list', '/api/categories/?page_size=1&page=1', 200],
  ['categories.list', '/api/categories/?parent__isnull=true', 200],
  ['categories.list', '/api/categories/?nmae=x', 400],
  ['categories.list', '/api/categories/?page=9', 404],
  ['categories.read', '/api/categories/1/', 200],
  ['categories.read', '/api/categories/1/?x=1', 400],
  ['categories.read', '/api/categories/9/', 404],
  withIdempotencyKey('c', ['categories.create', '/api/categories/', 201, { name: 'Retried' }]),
  withIdempotencyKey('c', ['categories.create', '/api/categories/', 201, { name: 'Retried' }]),
  withIdempotencyKey('c', ['categories.create', '/api/categories/', 422, { name: 'Other' }]),
  withHeaders(ANY, ['categories.list', '/api/categories/', 304]),
  withHeaders(OTHER, ['categories.list', '/api/categories/', 412]),
  withHeaders(ANY, ['categories.read', '/api/categories/1/', 304]),
  withHeaders(OTHER, ['categories.read', '/api/categories/1/', 412]),
  withHeaders(OTHER, ['categories.replace', '/api/categories/2/', 412, { name: 'Shirts' }]),
  withHeaders(OTHER, ['categories.merge', '/api/categories/2/', 412, { name: 'Shirts' }]),
  withHeaders(OTHER, ['categories.remove', '/api/categories/2/', 412]),
  ['categories.replace', '/api/categories/2/', 200, { name: 'Shirts', parent: 1 }],
  ['categories.replace', '/api/categories/2/', 400, {}],
  ['categories.replace', '/api/categories/9/', 404, { name: 'x' }],
  ['categories.replace', '/api/categories/1/', 409, { name: 'x', parent: 2 }],
  ['categories.replace', '/api/categories/2/', 409, { name: 'Clothing' }],
  ['categories.replace', '/api/categories/2/', 413, { name: 'x'.repeat(2_000) }],
  ['categories.replace', '/api/categories/2/', 415, '{}', MERGE_PATCH],
  ['categories.merge', '/api/categories/2/', 200, { name: 'Shirts' }, MERGE_PATCH],
  ['categories.merge', '/api/categories/2/', 200, { parent: null }],
  ['categories.merge', '/api/categories/2/', 400, { name: null }],
  ['categories.merge', '/api/categories/9/', 404, {}],
  ['categories.merge', '/api/categories/1/', 409, { parent: 1 }],
  ['categories.merge', '/api/categories/2/', 413, { name: 'x'.repeat(2_000) }],
  ['categories.merge', '/api/categories/2/', 415, '[]', 'application/json-patch+json'],

  ['products.create', '/api/products/', 201, { ...product, category: 1, stock: 3, brand: 'Acme', description: 'Red' }],
  ['products.create', '/api/products/', 201, { name: 'Hat', price: 5, sku: null, category: null }],
  ['products.create', '/api/products/', 201, { name: 'Coat', price: 0.1, id: 7, version: 'x' }],
  ['products.create', '/api/products/', 400, { price: 'x', category: 99 }],
  ['products.create', '/api/products/?x=1', 400, product],
  ['products.create', '/api/products/', 400, ''],
  ['products.create', '/api/products/', 409, product],
  ['products.create', '/api/products/', 413, { ...product, description: 'x'.repeat(2_000) }],
  ['products.create', '/api/products/', 415, 'x', 'application/x-www-form-urlencoded'],
  ['products.list', '/api/products/', 200],
  ['products.list', '/api/products/?page_size=1&page=2&ordering=-price', 200],
  ['products.list', '/api/products/?search=nothing', 200],
  ['products.list', '/api/products/?price__gt3=1&page=0&page=1', 400],
  ['products.list', '/api/products/?page=9', 404],
  ['products.read', '/api/products/1/', 200],
  ['products.read', '/api/products/2/', 200],
  ['products.read', '/api/products/1/?x=1', 400],
  ['products.read', '/api/products/x/', 404],
  withIdempotencyKey('p', ['products.create', '/api/products/', 201, { name: 'Retried', price: 1 }]),
  withIdempotencyKey('p', ['products.create', '/api/products/', 201, { name: 'Retried', price: 1 }]),
  withIdempotencyKey('p', ['products.create', '/api/products/', 422, { name: 'Retried', price: 2 }]),
  withHeaders(ANY, ['products.list', '/api/products/', 304]),
  withHeaders({ 'accept-encoding': 'br' }, ['products.list', '/api/products/', 200]),
  withHeaders(OTHER, ['products.list', '/api/products/', 412]),
  withHeaders(ANY, ['products.read', '/api/products/1/', 304]),
  withHeaders(OTHER, ['products.read', '/api/products/1/', 412]),
  ['products.cached_detail', '/api/products/1/cached_detail/', 200],
  ['products.cached_detail', '/api/products/1/cached_detail/', 200],
  withHeaders(ANY, ['products.cached_detail', '/api/products/1/cached_detail/', 304]),
  ['products.cached_detail', '/api/products/1/cached_detail/?x=1', 400],
  ['products.cached_detail', '/api/products/9/cached_detail/', 404],
  withHeaders(OTHER, ['products.cached_detail', '/api/products/1/cached_detail/', 412]),
  ['products.stock', '/api/products/1/stock/', 200, { delta: 2, reason: 'came' }],
  withIdempotencyKey('s', ['products.stock', '/api/products/1/stock/', 200, { delta: 2, reason: 'came' }]),
  withIdempotencyKey('s', ['products.stock', '/api/products/1/stock/', 422, { delta: 3, reason: 'came' }]),
  ['products.stock', '/api/products/1/stock/', 400, { delta: 0, reason: 'nothing' }],
  ['products.stock', '/api/products/9/stock/', 404, { delta: 1, reason: 'came' }],
  ['products.stock', '/api/products/1/stock/', 409, { delta: -99, reason: 'went' }],
  withHeaders(OTHER, ['products.stock', '/api/products/1/stock/', 412, { delta: 1, reason: 'came' }]),
  ['products.stock', '/api/products/1/stock/', 413, { delta: 1, reason: 'x'.repeat(2_000) }],
  ['products.stock', '/api/products/1/stock/', 415, 'x', 'text/plain'],
  ['products.bulk', '/api/products/bulk/', 200, bulk({ op: 'update', id: 1, body: { price: '29.90' } })],
  ['products.bulk', '/api/products/bulk/', 207, { ...bulk({ op: 'delete', id: 9 }), atomic: false }],
  ['products.bulk', '/api/products/bulk/', 400, bulk({ op: 'create', body: { price: -1 } })],
  ['products.bulk', '/api/products/bulk/', 404, bulk({ op: 'delete', id: 9 })],
  ['products.bulk', '/api/products/bulk/', 409, bulk({ op: 'create', body: product })],
  ['products.bulk', '/api/products/bulk/', 412, bulk({ op: 'delete', id: 1, if_match: '"another"' })],
  ['products.bulk', '/api/products/bulk/', 413, bulk({ op: 'update', id: 1, body: { description: 'x'.repeat(5_000) } })],
  ['products.bulk', '/api/products/bulk/', 415, 'x', 'text/plain'],
  withIdempotencyKey('b', ['products.bulk', '/api/products/bulk/', 200, bulk({ op: 'upsert', body: product })]),
  withIdempotencyKey('b', ['products.bulk', '/api/products/bulk/', 422, bulk({ op: 'delete', id: 1 })]),
  withHeaders(OTHER, ['products.replace', '/api/products/1/', 412, product]),
  withHeaders(OTHER, ['products.merge', '/api/products/1/', 412, {}]),
  withHeaders(OTHER, ['products.remove', '/api/products/1/', 412]),
  ['products.replace', '/api/products/1/', 200, product],
  ['products.replace', '/api/products/1/', 400, { ...product, colour: 1 }],
  ['products.replace', '/api/products/9/', 404, product],
  ['products.replace', '/api/products/2/', 409, product],
  ['products.replace', '/api/products/1/', 413, { ...product, description: 'x'.repeat(2_000) }],
  ['products.replace', '/api/products/1/', 415, 'x', 'text/plain'],
  ['products.merge', '/api/products/1/', 200, { stock: 4, sku: null, category: null }, MERGE_PATCH],
  ['products.merge', '/api/products/1/', 200, { price: 5, sku: 'A' }],
  ['products.merge', '/api/products/1/', 400, { price: null }, MERGE_PATCH],
  ['products.merge', '/api/products/1/', 400, '{', MERGE_PATCH],
  ['products.merge', '/api/products/x/', 404, {}],
  ['products.merge', '/api/products/2/', 409, { sku: 'A' }],
  ['products.merge', '/api/products/1/', 413, { description: 'x'.repeat(2_000) }],
  ['products.merge', '/api/products/1/', 415, 'x', 'text/plain'],

  ...(['categories', 'products'] as const).flatMap((name): Row[] => [
    [`${name}.history`, `/api/${name}/1/history/`, 200],
    [`${name}.history`, `/api/${name}/1/history/?page_size=1&before=2`, 200],
    [`${name}.history`, `/api/${name}/1/history/?before=0`, 400],
    [`${name}.history`, `/api/${name}/99/history/`, 404],
    [`${name}.restore`, `/api/${name}/1/restore/`, 200, { version: 1 }],
    [`${name}.restore`, `/api/${name}/1/restore/`, 400, { version: 0 }],
    [`${name}.restore`, `/api/${name}/1/restore/`, 404, { version: 99 }],
    [`${name}.restore`, `/api/${name}/1/restore/`, 413, { version: 'x'.repeat(2_000) }],
    [`${name}.restore`, `/api/${name}/1/restore/`, 415, 'x', 'text/plain'],
    withHeaders(OTHER, [`${name}.restore`, `/api/${name}/1/restore/`, 412, { version: 1 }]),
    withIdempotencyKey(`restore ${name}`, [`${name}.restore`, `/api/${name}/1/restore/`, 200, { version: 1 }]),
    withIdempotencyKey(`restore ${name}`, [`${name}.restore`, `/api/${name}/1/restore/`, 200, { version: 1 }]),
    withIdempotencyKey(`restore ${name}`, [`${name}.restore`, `/api/${name}/1/restore/`, 422, { version: 2 }]),
  ]),
  ['products.merge', '/api/products/1/', 200, { sku: 'B' }],
  ['products.create', '/api/products/', 201, product],
  ['products.restore', '/api/products/1/restore/', 409, { version: 1 }],
  ['categories.merge', '/api/categories/2/', 200, { name: 'Hats' }],
  ['categories.create', '/api/categories/', 201, { name: 'Shirts', parent: 1 }],
  ['categories.restore', '/api/categories/2/restore/', 409, { version: 1 }],

  ['changes.feed', '/api/changes/', 200],
  ['changes.feed', '/api/changes/?since=now', 200],
  ['changes.feed', '/api/changes/?since=0&resource=products&page_size=2', 200],
  ['changes.feed', '/api/changes/?since=x&resource=shirts', 400],
  ['changes.feed', '/api/changes/?since=1-AAAAAAAA', 410],
  ['changes.stream', '/api/changes/stream/', 200],
  ['changes.stream', '/api/changes/stream/?resource=shirts', 400],
  ['changes.stream', '/api/changes/stream/?since=1-AAAAAAAA', 410],

  ['categories.merge', '/api/categories/2/', 200, { parent: 1 }],
  ['categories.remove', '/api/categories/1/', 409],
  ['categories.remove', '/api/categories/2/?x=1', 400],
  ['categories.remove', '/api/categories/2/', 204],
  ['categories.remove', '/api/categories/2/', 404],
  ['products.remove', '/api/products/1/?x=1', 400],
  // DELETE takes no body of any type (RFC 9110, 9.3.5).
  ['products.remove', '/api/products/1/', 400, 'x'.repeat(2_000), 'text/plain'],
  ['products.remove', '/api/products/1/', 204],
  ['products.remove', '/api/products/1/', 404],

  ['keys.create', '/api/keys/', 201, { name: 'Shop', role: 'read', expires_at: '2099-01-31' }],
  ['keys.create', '/api/keys/', 400, { role: 'root' }],
  ['keys.create', '/api/keys/', 413, { name: 'x'.repeat(2_000) }],
  ['keys.create', '/api/keys/', 415, 'x', 'text/plain'],
  ['keys.list', '/api/keys/?role__in=read,write&revoked_at__isnull=true', 200],
  ['keys.list', '/api/keys/?role=root', 400],
  ['keys.list', '/api/keys/?page=9', 404],
  ['keys.read', '/api/keys/1/', 200],
  ['keys.read', '/api/keys/1/?x=1', 400],
  ['keys.read', '/api/keys/9/', 404],
  withIdempotencyKey('k', ['keys.create', '/api/keys/', 201, { name: 'Retried', role: 'read' }]),
  withIdempotencyKey('k', ['keys.create', '/api/keys/', 201, { name: 'Retried', role: 'read' }]),
  withIdempotencyKey('k', ['keys.create', '/api/keys/', 422, { name: 'Retried', role: 'write' }]),
  withHeaders(ANY, ['keys.list', '/api/keys/', 304]),
  withHeaders(OTHER, ['keys.list', '/api/keys/', 412]),
  withHeaders(ANY, ['keys.read', '/api/keys/1/', 304]),
  withHeaders(OTHER, ['keys.read', '/api/keys/1/', 412]),
  withHeaders(OTHER, ['keys.merge', '/api/keys/3/', 412, {}]),
  withHeaders(OTHER, ['keys.rotate', '/api/keys/3/rotate/', 412]),
  withHeaders(OTHER, ['keys.remove', '/api/keys/3/', 412]),
  withIdempotencyKey('k', ['keys.rotate', '/api/keys/3/rotate/', 422]),
  ['keys.merge', '/api/keys/3/', 200, { expires_at: null, name: 'Shop 2' }, MERGE_PATCH],
  ['keys.merge', '/api/keys/3/', 400, { role: null }],
  ['keys.merge', '/api/keys/9/', 404, {}],
  ['keys.merge', '/api/keys/3/', 413, { name: 'x'.repeat(2_000) }],
  ['keys.merge', '/api/keys/3/', 415, 'x', 'text/plain'],
  ['keys.merge', '/api/keys/1/', 409, { role: 'read' }],
  ['keys.remove', '/api/keys/1/', 409],
  ['keys.rotate', '/api/keys/3/rotate/', 200],
  ['keys.rotate', '/api/keys/3/rotate/?x=1', 400],
  ['keys.rotate', '/api/keys/9/rotate/', 404],
  ['keys.remove', '/api/keys/3/?x=1', 400],
  ['keys.remove', '/api/keys/3/', 204],
  ['keys.remove', '/api/keys/9/', 404],
  ['keys.rotate', '/api/keys/3/rotate/', 409],

  ['products.notify_update', '/api/products/2/notify_update/', 202, { message: 'Back in stock' }],
  withIdempotencyKey('n', ['products.notify_update', '/api/products/2/notify_update/', 202, {}]),
  withIdempotencyKey('n', ['products.notify_update', '/api/products/2/notify_update/', 422, { message: 'Gone' }]),
  ['products.notify_update', '/api/products/2/notify_update/', 400, { message: 1 }],
  ['products.notify_update', '/api/products/99/notify_update/', 404, {}],
  withHeaders(OTHER, ['products.notify_update', '/api/products/2/notify_update/', 412, {}]),
  ['products.notify_update', '/api/products/2/notify_update/', 413, { message: 'x'.repeat(2_000) }],
  ['products.notify_update', '/api/products/2/notify_update/', 415, 'x', 'text/plain'],

  ['webhooks.create', '/api/webhooks/', 201, { url: 'https://example.com/hooks', events: ['*'], filter: 'price__gte=50' }],
  ['webhooks.create', '/api/webhooks/', 201, { url: 'https://example.com/', events: ['products.created'], enabled: false }],
  ['webhooks.create', '/api/webhooks/', 400, { url: 'ftp://example.com/', events: ['products.made'] }],
  ['webhooks.create', '/api/webhooks/', 413, { url: 'x'.repeat(2_000) }],
  ['webhooks.create', '/api/webhooks/', 415, 'x', 'text/plain'],
  withIdempotencyKey('w', ['webhooks.create', '/api/webhooks/', 201, { url: 'https://example.com/', events: ['*'] }]),
  withIdempotencyKey('w', ['webhooks.create', '/api/webhooks/', 201, { url: 'https://example.com/', events: ['*'] }]),
  withIdempotencyKey('w', ['webhooks.create', '/api/webhooks/', 422, { url: 'https://example.org/', events: ['*'] }]),
  ['webhooks.list', '/api/webhooks/?enabled=true', 200],
  ['webhooks.list', '/api/webhooks/?enabled=x', 400],
  ['webhooks.list', '/api/webhooks/?page=9', 404],
  withHeaders(ANY, ['webhooks.list', '/api/webhooks/', 304]),
  withHeaders(OTHER, ['webhooks.list', '/api/webhooks/', 412]),
  ['webhooks.read', '/api/webhooks/1/', 200],
  ['webhooks.read', '/api/webhooks/1/?x=1', 400],
  ['webhooks.read', '/api/webhooks/9/', 404],
  withHeaders(ANY, ['webhooks.read', '/api/webhooks/1/', 304]),
  withHeaders(OTHER, ['webhooks.read', '/api/webhooks/1/', 412]),
  ['webhooks.merge', '/api/webhooks/1/', 200, { description: 'Shop' }, MERGE_PATCH],
  ['webhooks.merge', '/api/webhooks/1/', 400, { filter: 'prise=1' }],
  ['webhooks.merge', '/api/webhooks/9/', 404, {}],
  withHeaders(OTHER, ['webhooks.merge', '/api/webhooks/1/', 412, {}]),
  ['webhooks.merge', '/api/webhooks/1/', 413, { url: 'x'.repeat(2_000) }],
  ['webhooks.merge', '/api/webhooks/1/', 415, 'x', 'text/plain'],
  ['webhooks.rotate', '/api/webhooks/1/rotate/', 200],
  ['webhooks.rotate', '/api/webhooks/1/rotate/?x=1', 400],
  ['webhooks.rotate', '/api/webhooks/9/rotate/', 404],
  withHeaders(OTHER, ['webhooks.rotate', '/api/webhooks/1/rotate/', 412]),
  withIdempotencyKey('w', ['webhooks.rotate', '/api/webhooks/1/rotate/', 422]),
  ['webhooks.test', '/api/webhooks/1/test/', 202],
  ['webhooks.test', '/api/webhooks/1/test/?x=1', 400],
  ['webhooks.test', '/api/webhooks/9/test/', 404],
  ['webhooks.test', '/api/webhooks/2/test/', 409],
  withHeaders(OTHER, ['webhooks.test', '/api/webhooks/1/test/', 412]),
  withIdempotencyKey('w', ['webhooks.test', '/api/webhooks/1/test/', 422]),
  ['webhooks.replay', '/api/webhooks/1/replay/', 202, { since: '2026-01-31T12:00:00Z', only: 'all' }],
  ['webhooks.replay', '/api/webhooks/1/replay/', 400, { since: 'x' }],
  ['webhooks.replay', '/api/webhooks/9/replay/', 404, { since: '2026-01-31' }],
  ['webhooks.replay', '/api/webhooks/2/replay/', 409, { since: '2026-01-31' }],
  withHeaders(OTHER, ['webhooks.replay', '/api/webhooks/1/replay/', 412, { since: '2026-01-31' }]),
  ['webhooks.replay', '/api/webhooks/1/replay/', 413, { since: 'x'.repeat(2_000) }],
  ['webhooks.replay', '/api/webhooks/1/replay/', 415, 'x', 'text/plain'],
  withIdempotencyKey('w', ['webhooks.replay', '/api/webhooks/1/replay/', 422, { since: '2026-01-31' }]),
  ['deliveries.list', '/api/deliveries/?webhook=1&status=pending', 200],
  ['deliveries.list', '/api/deliveries/?status=x', 400],
  ['deliveries.list', '/api/deliveries/?page=9', 404],
  withHeaders(ANY, ['deliveries.list', '/api/deliveries/', 304]),
  withHeaders(OTHER, ['deliveries.list', '/api/deliveries/', 412]),
  ['deliveries.read', '/api/deliveries/1/', 200],
  ['deliveries.read', '/api/deliveries/1/?x=1', 400],
  ['deliveries.read', '/api/deliveries/9/', 404],
  withHeaders(ANY, ['deliveries.read', '/api/deliveries/1/', 304]),
  withHeaders(OTHER, ['deliveries.read', '/api/deliveries/1/', 412]),
  ['deliveries.replay', '/api/deliveries/1/replay/', 202],
  ['deliveries.replay', '/api/deliveries/1/replay/?x=1', 400],
  ['deliveries.replay', '/api/deliveries/9/replay/', 404],
  withHeaders(OTHER, ['deliveries.replay', '/api/deliveries/1/replay/', 412]),
  withIdempotencyKey('w', ['deliveries.replay', '/api/deliveries/1/replay/', 422]),
  withHeaders(OTHER, ['webhooks.remove', '/api/webhooks/1/', 412]),
  ['webhooks.remove', '/api/webhooks/1/?x=1', 400],
  ['webhooks.remove', '/api/webhooks/1/', 204],
  ['webhooks.remove', '/api/webhooks/1/', 404],
  ['deliveries.replay', '/api/deliveries/1/replay/', 409],
  ['jobs.list', '/api/jobs/?status=waiting&kind=products.notify&page_size=1', 200],
  ['jobs.list', '/api/jobs/?status=x', 400],
  ['jobs.read', '/api/jobs/00000000-0000-4000-8000-000000000000/', 404],
  ['jobs.read', '/api/jobs/00000000-0000-4000-8000-000000000000/?x=1', 400],
  ['jobs.retry', '/api/jobs/00000000-0000-4000-8000-000000000000/retry/', 404],
  ['jobs.retry', '/api/jobs/00000000-0000-4000-8000-000000000000/retry/?x=1', 400],

  ['service.live', '/livez', 200],
  ['service.live', '/livez?x=1', 400],
  ['service.ready', '/readyz', 200],
  ['service.ready', '/readyz?x=1', 400],
  ['service.root', '/api/', 200],
  withHeaders(ANY, ['service.root', '/api/', 304]),
  withHeaders(OTHER, ['service.root', '/api/', 412]),
  ['service.root', '/api/?x=1', 400],
  ['service.openapi', '/openapi.json', 200],
  withHeaders(ANY, ['service.openapi', '/openapi.json', 304]),
  withHeaders(OTHER, ['service.openapi', '/openapi.json', 412]),
  ['service.openapi', '/openapi.json?x=1', 400],
]

/** Statuses documented for every operation. errors.test.ts and the tests of the databases provoke them. */
const ELSEWHERE = [408, 417, 428, 429, 431, 500, 503]

/** Headers of every HTTP answer, which the document does not repeat. */
const STANDARD = ['content-type', 'content-length', 'date', 'connection', 'keep-alive', 'transfer-encoding']

function createValidator(document: Document) {
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  ajv.addFormat('uri', (text) => URL.canParse(text))
  ajv.addFormat('uuid', /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/)
  ajv.addFormat('date-time', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/)
  ajv.addSchema({ ...document, $id: 'openapi' })
  const pointer = (name: string) => name.replaceAll('~', '~0').replaceAll('/', '~1')
  const compiled = new Map<string, ValidateFunction>()
  /** Returns the faults of `value` by the schema to which the names lead. */
  return (value: unknown, ...names: string[]) => {
    const $ref = `openapi#/${names.map((name) => encodeURIComponent(pointer(name))).join('/')}`
    const validate = compiled.get($ref) ?? ajv.compile({ $ref })
    compiled.set($ref, validate)
    return validate(value) ? [] : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`)
  }
}

onEach('every answer conforms to the document', async (t, dialect) => {
  const limits = { RATE_LIMIT_ANONYMOUS: '1000', RATE_LIMIT_AUTHENTICATED: '1000' }
  const app = await build(t, dialect, { env: { BODY_LIMIT: '1024', BULK_BODY_LIMIT: '4096', WEBHOOK_ALLOW_PRIVATE: 'true', ...limits } })
  const { authorization: admin } = authorization(app)
  const { token } = await issueKey(app.db, { name: 'Reader', role: 'read' }, COMMAND_LINE)
  const document = await readResolved(app)
  const operations = new Map(listOperations(document).map((entry) => [entry.operation.operationId, entry]))
  const findFaults = createValidator(document)
  let requestCount = 0
  const met = new Map([...operations.keys()].map((id) => [id, new Set<number>()]))

  const check = async (
    id: string,
    url: string,
    status: number,
    body?: string | object,
    type = JSON_TYPE,
    having: Record<string, string> = {},
    key: string | undefined = admin,
  ) => {
    const title = `${id} ${status} ${url}`
    const entry = operations.get(id)
    if (!entry) throw new Error(`the document has no operation ${id}`)
    const { method, path, operation } = entry
    const at = ['paths', path, method.toLowerCase()]
    const payload = typeof body === 'string' ? body : JSON.stringify(body)
    // The stream does not end, so its beginning must do.
    const endless = status === 200 && EVENT_STREAM in (operation.responses[200]?.content ?? {})
    const answer = await app.inject({
      payloadAsStream: endless,
      method: method as InjectOptions['method'],
      url,
      headers: { ...having, ...(key && { authorization: key }), ...(payload !== undefined && { 'content-type': type }) },
      ...(payload !== undefined && { payload }),
      // Each request has another address, since tries of keys are limited by address.
      remoteAddress: `10.0.0.${++requestCount & 255}`,
    })
    t.equal(answer.statusCode, status, title)
    met.get(id)?.add(answer.statusCode)
    if (answer.statusCode < 300 && body && operation.requestBody)
      t.strictSame(findFaults(body, ...at, 'requestBody', 'content', type, 'schema'), [], `${title}: the body sent`)
    const documented = operation.responses[answer.statusCode]
    if (!documented) return t.fail(`${title}: not in the document`)

    const names = Object.keys(documented.headers ?? {}).map((name) => name.toLowerCase())
    const unknown = Object.keys(answer.headers).filter((name) => !STANDARD.includes(name) && !names.includes(name))
    t.strictSame(unknown, [], `${title}: headers`)
    const [essence] = String(answer.headers['content-type'] ?? '').split(';')
    t.strictSame(Object.keys(documented.content ?? { '': {} }), [essence], `${title}: content type`)
    if (!essence) return t.equal(answer.body, '', title)
    if (endless) {
      t.match(String((await once(answer.stream(), 'data'))[0]), /^retry: \d+\nid: \S+\n\n$/, title)
      return void answer.stream().destroy()
    }
    if (answer.headers['content-encoding']) return t.equal(answer.headers['content-encoding'], having['accept-encoding'], title)
    const value = answer.json()
    t.strictSame(findFaults(value, ...at, 'responses', String(answer.statusCode), 'content', essence, 'schema'), [], `${title}: the answer`)
    if (status >= 400) t.match(documented.description, `\`${value.code}\``, `${title}: its code`)
  }

  for (const row of requests) await check(...row)
  const { id: job } = (await get(app, '/api/jobs/')).body.results[0]
  await check('jobs.read', `/api/jobs/${job}/`, 200)
  await check('jobs.retry', `/api/jobs/${job}/retry/`, 409)
  // jobs.test.ts retries a job that has failed.
  met.get('jobs.retry')?.add(200)
  for (const [id, { method, path, operation }] of operations) {
    const url = path.replace('{id}', '1')
    const body = operation.requestBody && {}
    if (operation.responses[401]) await check(id, url, 401, body, JSON_TYPE, {}, 'Bearer none')
    if (operation.responses[403]) await check(id, url, 403, body, JSON_TYPE, {}, `Bearer ${token}`)
    t.equal(
      operation.responses[429] !== undefined,
      !['/livez/', '/readyz/', '/livez', '/readyz'].includes(path),
      `${method} ${path} is limited`,
    )
  }
  await app.db.write((tx) => tx.run(sql`delete from stockroom_schema where kind = 'derived'`))
  await check('service.ready', '/readyz', 503)

  // idempotency.test.ts tries concurrent requests with one key.
  for (const id of ['keys.create', 'webhooks.create', 'webhooks.rotate', 'products.notify_update']) met.get(id)?.add(409)
  // Declared operations are tried on the resources with rows above.
  const untried = app.resources.map(({ table }) => `${table}.`).filter((tag) => !requests.some(([id]) => id.startsWith(tag)))
  for (const [id, { operation }] of operations) {
    if (untried.some((tag) => id.startsWith(tag))) continue
    const unmet = Object.keys(operation.responses)
      .map(Number)
      .filter((status) => !met.get(id)?.has(status) && !ELSEWHERE.includes(status))
    t.strictSame(unmet, [], `${id}: every documented status can occur`)
  }
})

const page = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8')

/** The command in docs/api.md that generates types, and the examples that use them. */
const [, generate = ''] = /npx openapi-typescript \S+ -o stockroom\.d\.ts(.*)/.exec(page) ?? []
const clients = [...page.matchAll(/```ts\n(.*?)```/gs)].map(([, code = '']) => code).filter((code) => code.includes("from 'openapi-fetch'"))

const misused = `
import createClient from 'openapi-fetch'
import type { components, paths } from './stockroom.d.ts'

const client = createClient<paths>({ baseUrl: 'http://127.0.0.1:3000' })
const id = { path: { id: 1 } }

await client.GET('/api/products/', { params: { query: { price__gte: '9.90', stock__lt: 2.5, page: 'last', sku__isnull: false, ordering: ['-price', 'name'] } } })
// @ts-expect-error no such URL
await client.GET('/api/product/')
// @ts-expect-error no such parameter
await client.GET('/api/products/', { params: { query: { price__gt3: 1 } } })
// @ts-expect-error no such order
await client.GET('/api/products/', { params: { query: { ordering: ['-description'] } } })
// @ts-expect-error a flag is no text
await client.GET('/api/products/', { params: { query: { sku__isnull: 'yes' } } })
// @ts-expect-error a list has values
await client.GET('/api/products/', { params: { query: { brand__in: 'Acme' } } })
// @ts-expect-error a page is a number, or last
await client.GET('/api/products/', { params: { query: { page: 'first' } } })
// @ts-expect-error the id is missing
await client.GET('/api/products/{id}/')
// @ts-expect-error the price is missing
await client.POST('/api/products/', { body: { name: 'a' } })
// @ts-expect-error no such member
export const input: components['schemas']['ProductInput'] = { name: 'a', price: '1', colour: 'red' }
// @ts-expect-error no such member
export const patch: components['schemas']['ProductPatch'] = { prise: '1' }
// @ts-expect-error a number is no text
await client.POST('/api/products/', { body: { name: 'a', price: '1', stock: '5' } })
// @ts-expect-error a name cannot be null
await client.PATCH('/api/products/{id}/', { params: id, body: { name: null } })
// @ts-expect-error a URL has its own methods
await client.POST('/api/products/{id}/', { params: id })

await client.PATCH('/api/products/{id}/', { params: id, body: { sku: null, category: 2, price: 9.9 } })
const { data, error } = await client.GET('/api/products/{id}/', { params: id })
export const price: string | undefined = data?.price
export const category: number | null | undefined = data?.category
export const code: components['schemas']['Problem']['code'] | undefined = error?.code
// @ts-expect-error no such member
export const colour = data?.colour
// @ts-expect-error no such code
export const wrong = error?.code === 'no-such-code'
const { data: page } = await client.GET('/api/categories/')
export const next: string | null | undefined = page?.next
export const slugs: string[] | undefined = page?.results.map(({ slug }) => slug)
`

const compilerOptions = {
  target: 'es2024',
  lib: ['es2024', 'dom'],
  module: 'nodenext',
  types: ['node'],
  strict: true,
  noEmit: true,
  allowImportingTsExtensions: true,
  skipLibCheck: true,
}

/** Uses the clients of other generators than that of docs/api.md. */
const others = `
import { productsList, productsMerge } from './hey/sdk.gen.ts'
import { productsList as list, productsMerge as merge } from './orval.ts'

const { data } = await productsList({ query: { price__gte: 50, 'brand__in!': ['Acme'], ordering: ['-price'], search: 'shirt' } })
export const price: string | undefined = data?.results[0]?.price
await productsMerge({ path: { id: 1 }, body: { stock: 12 } })
// @ts-expect-error no such parameter
await productsList({ query: { price__gt3: 1 } })

const answer = await list({ price__gte: 50, 'brand__in!': ['Acme'], ordering: ['-price'], search: 'shirt' })
export const name: string | undefined = answer.status === 200 ? answer.data.results[0]?.name : undefined
await merge(1, { stock: 12 })
// @ts-expect-error no such parameter
await list({ price__gt3: 1 })
`

const withoutDirectives = (code: string) => code.replaceAll('// @ts-expect-error', '//')

t.test('clients generated from the document type-check, and their misuse does not', async (t) => {
  const app = await build(t, embedded)
  t.ok(clients.length > 0, 'docs/api.md shows a client')
  const folder = t.testdir({
    'openapi.json': JSON.stringify(await readDocument(app)),
    'package.json': '{ "type": "module" }',
    'misused.ts': misused,
    'others.ts': others,
    'misused-unmarked.ts': withoutDirectives(misused),
    'others-unmarked.ts': withoutDirectives(others),
    ...Object.fromEntries(clients.map((code, n) => [`page-${n}.ts`, code])),
    'tsconfig.json': JSON.stringify({ compilerOptions, include: ['**/*.ts'] }),
  })
  const flags = generate.split(' ').filter((flag) => flag !== '')
  const generators: [script: string, args: string[]][] = [
    ['openapi-typescript/bin/cli.js', ['openapi.json', '-o', 'stockroom.d.ts', ...flags]],
    ['@hey-api/openapi-ts/bin/run.js', ['-i', 'openapi.json', '-o', 'hey']],
    ['orval/dist/bin/orval.mjs', ['--input', 'openapi.json', '--output', 'orval.ts', '--client', 'fetch']],
  ]
  for (const [script, args] of generators) {
    const { code, output } = await run(script, args, folder)
    t.equal(code, 0, `${script}: ${output}`)
  }
  // A single compiler run checks everything. In the unmarked copies each mistake must be a separate error.
  const { output } = await run('typescript-7/lib/tsc.js', ['--project', folder], folder)
  const errors = output.split('\n').filter((line) => /error TS/.test(line))
  const isUnmarked = (line: string) => /^(misused|others)-unmarked\.ts/.test(line)
  t.strictSame(
    errors.filter((line) => !isUnmarked(line)),
    [],
    'no other errors',
  )
  t.equal(errors.length, `${misused}${others}`.match(/@ts-expect-error/g)?.length, 'one error for each mistake')
})

t.test('products and common parameters come first in the document', async (t) => {
  const { tags, paths } = (await get(await build(t, embedded), '/openapi.json')).body
  // Other resources may stand between them.
  const order = ['products', 'categories', 'changes', 'deliveries', 'keys', 'webhooks', 'jobs', 'service']
  t.strictSame(
    tags.map(({ name }: { name: string }) => name).filter((name: string) => order.includes(name)),
    order,
  )
  t.equal(tags[0].name, 'products')
  const { description, parameters } = paths['/api/products/'].get
  const names: string[] = parameters.map(({ name }: { name: string }) => name)
  t.strictSame(names.slice(0, 9), ['search', 'ordering', 'page', 'page_size', 'count', 'cursor', 'id', 'sku', 'name'])
  const kinds = names.slice(6, -1).map((name) => (name.endsWith('!') ? 'negation' : name.includes('__') ? 'lookup' : 'filter'))
  t.strictSame(
    kinds.filter((kind, index) => kind !== kinds[index - 1]),
    ['filter', 'lookup', 'negation'],
  )
  t.equal(names.at(-1), 'If-None-Match')
  t.match(description, '`brand!=Acme`', 'the description explains negation')
})
