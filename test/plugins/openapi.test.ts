// The OpenAPI document: valid, complete, true, and good enough to make a client from.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Ajv2020 } from 'ajv/dist/2020.js'
import openapiTS, { astToString } from 'openapi-typescript'
import t, { type Test } from 'tap'
import { errors } from '../../src/errors.ts'
import { DIALECTS } from '../dialects.ts'
import { type Answer, ask, build, get } from '../helper.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const bin = (name: string) => join(ROOT, 'node_modules', name)

interface Operation {
  operationId: string
  parameters?: { name: string; in: string }[]
  responses: Record<string, { headers?: object; content?: Record<string, { schema: object }> }>
}

interface Document {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object> }
}

async function start(t: Test) {
  const [sqlite] = DIALECTS
  if (!sqlite) throw new Error('no database to serve from')
  const app = await build(t, sqlite)
  const { body } = await get(app, '/openapi.json')
  return { app, document: body as Document, operations: Object.values((body as Document).paths).flatMap((path) => Object.values(path)) }
}

async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'openapi-'))
  t.teardown(() => rm(path, { recursive: true }))
  return path
}

t.test('the document passes the linter without an error or a warning', async (t) => {
  const { document } = await start(t)
  const file = join(await folder(t), 'openapi.json')
  await writeFile(file, JSON.stringify(document))
  const { stderr } = await run(
    process.execPath,
    [bin('@redocly/cli/bin/cli.js'), 'lint', file, '--config', join(ROOT, 'redocly.yaml'), '--max-problems', '20'],
    {
      env: { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' },
    },
  )
  t.match(stderr, /Your API description is valid/)
  t.notMatch(stderr, /warning/)
})

t.test('every route is in the document, and nothing else', async (t) => {
  const { app, document } = await start(t)
  t.equal(document.openapi, '3.1.0')
  const documented = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace('{id}', '1')}`),
  )
  for (const route of documented) {
    const [method, url] = route.split(' ') as ['GET', string]
    t.ok(app.findRoute({ method, url }), route)
  }
  const routed = new Set<string>()
  let prefix: string[] = []
  for (const line of app.printRoutes({ commonPrefix: false }).split('\n')) {
    const [, indent = '', path = '', methods = ''] = /^([│ ]*)[├└]── (\S*) \(([^)]*)\)/.exec(line) ?? []
    if (!path) continue
    prefix = [...prefix.slice(0, indent.length / 4), path]
    for (const method of methods.split(', ')) if (method !== 'HEAD') routed.add(`${method} ${prefix.join('').replace(':id', '1')}`)
  }
  const missing = [...routed].filter(
    (route) => !route.includes(' /docs') && !documented.some((known) => known.replace(/\/$/, '') === route.replace(/\/$/, '')),
  )
  t.same(missing, [])
  t.ok(routed.size > 10, 'the routes were found')
})

t.test('every parameter of a list is in the document, by the name that the querystring has', async (t) => {
  const { app, document } = await start(t)
  for (const { table, list } of app.resources) {
    const parameters = document.paths[`/api/${table}/`]?.get?.parameters ?? []
    t.same(
      parameters.map(({ name }) => name),
      Object.keys(list.querystring.properties),
      table,
    )
  }
})

t.test('operations have names of their own, and every component is used', async (t) => {
  const { document, operations } = await start(t)
  const ids = operations.map(({ operationId }) => operationId)
  t.same(ids, [...new Set(ids)])
  const text = JSON.stringify(document)
  for (const name of Object.keys(document.components.schemas)) t.match(text, `"#/components/schemas/${name}"`)
})

t.test('every code is documented where it can occur, and only codes that there are', async (t) => {
  const { operations } = await start(t)
  const named = new Set(operations.flatMap(({ responses }) => JSON.stringify(responses).match(/(?<=`)[a-z-]+(?=`:)/g) ?? []))
  // No operation has it: it is the answer to a method that is none.
  t.same([...named, 'method-not-allowed'].toSorted(), Object.keys(errors).toSorted())
})

/** Requests that meet each operation's answers. The last column is the operation. */
const requests: [Parameters<typeof ask>[1], string, unknown, number, string][] = [
  ['POST', '/api/categories/', { name: 'Shirts' }, 201, 'categories.create'],
  ['POST', '/api/products/', { name: 'Red shirt', price: '5', sku: 'a', category: 1 }, 201, 'products.create'],
  ['POST', '/api/products/', { name: 'Red shirt', price: '5', sku: 'a' }, 409, 'products.create'],
  ['POST', '/api/products/', { nam: 'x' }, 400, 'products.create'],
  ['GET', '/api/products/', undefined, 200, 'products.list'],
  ['GET', '/api/products/?prise=1', undefined, 400, 'products.list'],
  ['GET', '/api/products/?page=2', undefined, 404, 'products.list'],
  ['GET', '/api/products/1/', undefined, 200, 'products.read'],
  ['GET', '/api/products/9/', undefined, 404, 'products.read'],
  ['PUT', '/api/products/1/', { name: 'x', price: 1 }, 200, 'products.replace'],
  ['PATCH', '/api/products/1/', { stock: 3 }, 200, 'products.merge'],
  ['PATCH', '/api/products/1/', { stock: -3 }, 400, 'products.merge'],
  ['PATCH', '/api/categories/1/', { parent: 1 }, 409, 'categories.merge'],
  ['GET', '/api/categories/', undefined, 200, 'categories.list'],
  ['DELETE', '/api/products/1/', undefined, 204, 'products.remove'],
  ['DELETE', '/api/products/1/', undefined, 404, 'products.remove'],
  ['DELETE', '/api/categories/1/', undefined, 204, 'categories.remove'],
  ['GET', '/livez', undefined, 200, 'service.live'],
  ['GET', '/readyz', undefined, 200, 'service.ready'],
  ['GET', '/openapi.json', undefined, 200, 'service.openapi'],
]

t.test('answers have the status, the headers and the form that the document says', async (t) => {
  const { app, document, operations } = await start(t)
  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  ajv.addSchema({ ...document, $id: 'openapi' })
  for (const [method, url, payload, status, id] of requests) {
    const answer = await ask(app, method, url, payload as object)
    t.equal(answer.status, status, `${method} ${url}`)
    const response = operations.find(({ operationId }) => operationId === id)?.responses[status]
    t.ok(response, `${id} documents ${status}`)
    t.same(undocumented(answer, response?.headers ?? {}), [], `${method} ${url}: headers`)
    const [[type, media] = []] = Object.entries(response?.content ?? {})
    if (!type || !media) continue
    t.match(answer.headers['content-type'], type)
    const pointer = JSON.stringify(media.schema).replaceAll('#/components', 'openapi#/components')
    const valid = ajv.compile(JSON.parse(pointer))
    t.ok(valid(answer.body), `${method} ${url}: ${ajv.errorsText(valid.errors)}`)
  }
})

/** Headers that every HTTP answer may have, and need no documentation. */
const OF_HTTP = ['content-type', 'content-length', 'date', 'connection', 'keep-alive', 'cache-control']

const undocumented = ({ headers }: Answer, documented: object) => {
  const known = [...Object.keys(documented).map((name) => name.toLowerCase()), ...OF_HTTP]
  return Object.keys(headers).filter((name) => !known.includes(name))
}

/** The README's examples of a client, and what a client must not be able to say. */
const WRONG = [
  `await client.GET('/api/products/', { params: { query: { prise__gte: 50 } } })`,
  `await client.GET('/api/products/', { params: { query: { ordering: ['colour'] } } })`,
  `await client.GET('/api/suppliers/')`,
  `await client.POST('/api/products/', { body: { name: 'x' } })`,
  `await client.PATCH('/api/products/{id}/', { params: { path: { id: 1 } }, body: { stock: '12' } })`,
  `const { data } = await client.GET('/api/products/'); data?.results[0]?.colour`,
]

t.test('a generated client type-checks against the README’s examples, and against nothing else', async (t) => {
  const { document } = await start(t)
  // Inside the project, so that the example finds the client's package.
  const path = await mkdtemp(join(ROOT, 'test/client-'))
  t.teardown(() => rm(path, { recursive: true }))
  await writeFile(join(path, 'stockroom.d.ts'), astToString(await openapiTS(document as never, { defaultNonNullable: false })))
  const readme = await readFile(join(ROOT, 'README.md'), 'utf8')
  const [example] = [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code)
  t.match(example, "from 'openapi-fetch'")
  const header = example?.split('\nconst { data')[0]
  await writeFile(join(path, 'example.ts'), `${example}`)
  await Promise.all(WRONG.map((code, index) => writeFile(join(path, `wrong${index}.ts`), `${header}\n${code}\nexport {}`)))
  await writeFile(
    join(path, 'tsconfig.json'),
    JSON.stringify({
      extends: '../../tsconfig.json',
      compilerOptions: { noUnusedLocals: false, lib: ['es2024', 'dom'] },
      include: ['*.ts'],
    }),
  )
  // The compiler does not start under the loaders that tap gives to every child process.
  const plain = ['-c', 'unset NODE_OPTIONS; exec "$0" "$@"', process.execPath]
  const compile = run('/bin/sh', [...plain, bin('typescript-7/bin/tsc'), '-p', path, '--noEmit'])
  const { stdout } = await compile.catch((error: { stdout: string }) => error)
  t.notMatch(stdout, /example\.ts/)
  for (const [index, code] of WRONG.entries()) t.match(stdout, new RegExp(`wrong${index}\\.ts`), code)
})
