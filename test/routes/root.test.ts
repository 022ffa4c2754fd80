// Entry points for clients that know only the host: the API root and the redirect at `/`.
import t from 'tap'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { authorization, build, get } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

t.test('the API root names the URL of every list and of the documentation', async (t) => {
  const app = await build(t, embedded)
  const { status, body } = await get(app, '/api/')
  t.equal(status, 200)
  const { paths } = (await get(app, '/openapi.json')).body
  const lists = Object.keys(paths).filter((path) => /^\/api\/[^/]+\/$/.test(path) && paths[path].get)
  t.strictSame(
    Object.values(body).sort(),
    [...lists, '/docs/', '/openapi.json'].map((path) => `http://localhost:80${path}`).sort(),
    'the root names every list of the document',
  )
  for (const [name, url] of Object.entries<string>(body)) {
    const { statusCode } = await app.inject({ url: new URL(url).pathname, headers: authorization(app) })
    t.equal(statusCode, 200, name)
  }
  t.strictSame((await get(app, '/api')).body, body, 'without the last slash')
})

t.test('the URLs at the API root have the origin of the request', async (t) => {
  const app = await build(t, embedded)
  const rootAt = async (host: string) => (await app.inject({ url: '/api/', headers: { host } })).json()
  for (const host of ['a.test', 'b.test:8080', 'a.test']) t.equal((await rootAt(host)).products, `http://${host}/api/products/`)
  const behind = await build(t, embedded, { env: { PUBLIC_URL: 'https://api.example.com' } })
  t.equal((await get(behind, '/api/')).body.products, 'https://api.example.com/api/products/')
})

/** Clients, with their Accept header and the target of the redirect. */
const visitors: [who: string, accept: string | undefined, location: string][] = [
  ['a browser', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', '/docs/'],
  ['curl', '*/*', '/api/'],
  ['a program', 'application/json', '/api/'],
  ['a client that does not say', undefined, '/api/'],
]

t.test('/ redirects browsers to the docs and programs to the API root', async (t) => {
  const app = await build(t, embedded)
  for (const method of ['GET', 'HEAD'] as const)
    for (const [who, accept, location] of visitors) {
      const { statusCode, headers } = await app.inject({ method, url: '/', headers: accept === undefined ? {} : { accept } })
      t.match({ statusCode, headers }, { statusCode: 302, headers: { location, vary: /\bAccept\b/ } }, `${method} by ${who}`)
      t.match((await app.inject({ url: location })).statusCode, 200)
    }
})

t.test('/ and the API root refuse parameters of programs, and pages ignore them', async (t) => {
  const app = await build(t, embedded)
  const answer = (url: string, accept: string) => app.inject({ url, headers: { accept } })
  for (const url of ['/?x=1', '/api/?x=1']) {
    const { statusCode, body } = await answer(url, 'application/json')
    t.match(
      [statusCode, JSON.parse(body)],
      [400, { code: 'invalid-request', errors: [{ parameter: 'x', detail: /takes no parameters/ }] }],
      url,
    )
  }
  t.match(await answer('/?', 'application/json'), { statusCode: 302, headers: { location: '/api/' } })
  t.match(await answer('/?utm_source=x', 'text/html'), { statusCode: 302, headers: { location: '/docs/' } })
  t.match(await answer('/docs/?utm_source=x', 'text/html'), { statusCode: 200 })
})

t.test('the OpenAPI document has one URL', async (t) => {
  const app = await build(t, embedded)
  t.equal((await app.inject('/openapi.json')).statusCode, 200)
  for (const url of ['/docs/json', '/docs/yaml', '/docs/openapi.json', '/openapi.yaml'])
    t.equal((await app.inject(url)).statusCode, 404, url)
})
