// Checks of bodies before a route sees them.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TSchema } from '@sinclair/typebox'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { compileBody } from '../../src/validate.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { ask, authorization, build, get } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

/** Routes that accept any body and return it. */
const OPEN = `
  const config = { access: 'anyone' }
  const answer = async ({ body }) => ({ given: body })
  export default async function (app) {
    app.post('/any/', { config, schema: { body: {} } }, answer)
    app.post('/open/', { config, schema: { body: { type: 'object', additionalProperties: true } } }, answer)
    app.post('/closed/', { config, schema: { body: { type: 'object', additionalProperties: false, properties: { name: { type: 'string' } } } } }, answer)
  }`

const POISON = /^has a member __proto__, or constructor with a member prototype/

/** Bodies, with the pointer of their fault under a closed schema. */
const bodies: [body: string, pointer?: string][] = [
  ['{"__proto__":{"admin":true}}', '/__proto__'],
  ['{"__proto__":1}', '/__proto__'],
  ['{"name":"a","__proto__":null}', '/__proto__'],
  ['{"\\u005f_proto\\u005F_":{"admin":true}}', '/__proto__'],
  ['{"constructor":{"prototype":{"admin":true}}}', '/constructor'],
  ['{"c\\u006fnstructor" : {"prototype":{}}}', '/constructor'],
  ['{"name":{"a":[{"__proto__":{"admin":true}}]}}', '/name'],
]

const harmless = ['{"name":"__proto__"}', '{"name":"\\"__proto__\\":"}', '{"name":"{\\"constructor\\":{\\"prototype\\":1}}"}']

t.test('no route gets a body that would change a prototype', async (t) => {
  const app = await build(t, embedded, { routes: t.testdir({ takes: { 'index.js': OPEN } }) })
  const post = async (name: string, payload: string) => {
    const answer = await app.inject({ method: 'POST', url: `/takes/${name}/`, payload, headers: { 'content-type': 'application/json' } })
    return { status: answer.statusCode, body: answer.json() }
  }
  for (const [payload, pointer] of bodies) {
    for (const name of ['any', 'open']) {
      const { status, body } = await post(name, payload)
      t.match(
        { status, code: body.code, faults: body.errors },
        { status: 400, code: 'invalid-request', faults: [{ pointer: '', detail: POISON }] },
        `${name}: ${payload}`,
      )
    }
    const { status, body } = await post('closed', payload)
    t.match([status, body.code, body.errors], [400, 'invalid-request', [{ pointer }]], `closed: ${payload}`)
  }
  for (const payload of harmless) {
    for (const name of ['any', 'open', 'closed'])
      t.strictSame(await post(name, payload), { status: 200, body: { given: JSON.parse(payload) } }, `${name}: ${payload}`)
  }
  t.strictSame(
    await post('open', '{"constructor":1}'),
    { status: 200, body: { given: JSON.parse('{"constructor":1}') } },
    'a single name is harmless',
  )
  t.strictSame(await post('any', '[1,"a",null]'), { status: 200, body: { given: [1, 'a', null] } })
  t.match(await post('any', '{"__proto__":1'), { status: 400, body: { code: 'malformed-json' } })
  t.equal(({} as Record<string, unknown>).admin, undefined)
})

t.test('a poisoned body is reported with all other faults', async (t) => {
  const app = await build(t, embedded)
  const { status, body } = await ask(app, 'POST', '/api/products/?x=1', '{"__proto__":{"name":"a"},"prise":1}', {
    'content-type': 'application/json',
  })
  t.equal(status, 400)
  t.strictSame(body.errors.map((fault: Record<string, string>) => fault.pointer ?? fault.parameter).sort(), [
    '/__proto__',
    '/name',
    '/price',
    '/prise',
    'x',
  ])
})

t.test('every schema of a body is valid JSON Schema and compiles', async (t) => {
  const bodies = new Map<string, TSchema>()
  const collect = (message: unknown) =>
    (message as { fastify: FastifyInstance }).fastify.addHook('onRoute', ({ method, url, schema, validatorCompiler }) => {
      // Bulk requests check each operation separately.
      if (schema?.body && !validatorCompiler) bodies.set(`${method} ${url}`, schema.body as TSchema)
    })
  subscribe('fastify.initialization', collect)
  const app = await build(t, embedded)
  unsubscribe('fastify.initialization', collect)
  const ajv = new Ajv2020()
  for (const [name, schema] of Object.entries(app.getSchemas())) t.ok(ajv.validateSchema(schema as object), `${name}: ${ajv.errorsText()}`)
  t.ok(bodies.size > 8, [...bodies.keys()].join(', '))
  for (const [route, schema] of bodies) {
    const resolved = schema.$ref ? (app.getSchema(schema.$ref) as TSchema) : schema
    t.ok(ajv.validateSchema(resolved), `${route}: ${ajv.errorsText()}`)
    // The service compiles a schema at the first body, so the test compiles every schema.
    t.doesNotThrow(() => compileBody(resolved)({}), route)
  }
})

t.test('a body of GET, HEAD or DELETE is refused before any other answer', async (t) => {
  const app = await build(t, embedded)
  await ask(app, 'POST', '/api/categories/', { name: 'Shoes' })
  const { etag = '' } = (await get(app, '/api/categories/')).headers
  const json = { 'content-type': 'application/json' }
  const refused = { status: 400, body: { code: 'invalid-request', errors: [{ pointer: '', detail: 'is not read here: send no body' }] } }
  for (const url of [
    '/api/categories/',
    '/api/categories/1/',
    '/api/products/1/cached_detail/',
    '/api/changes/',
    '/livez',
    '/openapi.json',
  ]) {
    t.match(await ask(app, 'GET', url, '{}', json), refused, url)
    t.match(await ask(app, 'GET', url, '{}'), refused, `${url} without a type`)
    t.equal((await app.inject({ method: 'HEAD', url, payload: '{}', headers: authorization(app) })).statusCode, 400, `HEAD ${url}`)
  }
  t.match(await ask(app, 'GET', '/api/categories/', '{}', { 'if-none-match': String(etag) }), refused, 'no 304')
  t.equal((await ask(app, 'GET', '/api/categories/', undefined, { 'if-none-match': String(etag), 'content-length': '0' })).status, 304)
  t.match(await ask(app, 'DELETE', '/api/categories/1/', '{}', json), refused)
  t.match(await ask(app, 'DELETE', '/api/categories/1/', '{}'), refused)
  t.match(await ask(app, 'DELETE', '/api/categories/1/', '', { 'transfer-encoding': 'chunked' }), refused)
  t.equal((await ask(app, 'DELETE', '/api/categories/1/', undefined, { 'content-length': '0' })).status, 204)
})

t.test('a refused body is not read as the next request of its connection', async (t) => {
  const app = await build(t, embedded)
  await ask(app, 'POST', '/api/categories/', { name: 'Shoes' })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { authorization: key } = authorization(app)
  const lines = (...of: string[]) => `${of.join('\r\n')}\r\n\r\n`
  const head = ['Host: x', `Authorization: ${key}`]
  const smuggled = lines('DELETE /api/categories/1/ HTTP/1.1', ...head)
  for (const body of [smuggled, smuggled.repeat(2_000)]) {
    const chunk = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
    for (const method of ['GET', 'DELETE']) {
      socket.write(lines(`${method} /api/categories/1/ HTTP/1.1`, ...head, `Content-Length: ${body.length}`) + body)
      socket.write(lines(`${method} /api/categories/1/ HTTP/1.1`, ...head, 'Transfer-Encoding: chunked') + chunk)
    }
    socket.write(lines('GET /api/categories/1/ HTTP/1.1', ...head, 'Connection: close'))
    const statuses = [...(await text(socket)).matchAll(/HTTP\/1\.1 (\d{3}) [A-Z]/g)].map(([, status]) => Number(status))
    t.strictSame(statuses, [400, 400, 400, 400, 200], `${body.length} bytes`)
  }
})
