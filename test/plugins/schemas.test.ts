// What is done to bodies before a route sees them.
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { ask, build } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

/** Routes that take anything, and say what they were given. */
const OPEN = `
  const config = { access: 'anyone' }
  const answer = async ({ body }) => ({ given: body })
  export default async function (app) {
    app.post('/any/', { config, schema: { body: {} } }, answer)
    app.post('/open/', { config, schema: { body: { type: 'object', additionalProperties: true } } }, answer)
    app.post('/closed/', { config, schema: { body: { type: 'object', additionalProperties: false, properties: { name: { type: 'string' } } } } }, answer)
  }`

const POISON = /^has a member __proto__, or constructor with a member prototype/

/** A body, and the pointer to what is wrong with it where the schema is closed; nothing is where there is none. */
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

t.test('no route is given a body that would change a prototype', async (t) => {
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
    'a name alone does no harm',
  )
  t.strictSame(await post('any', '[1,"a",null]'), { status: 200, body: { given: [1, 'a', null] } })
  t.match(await post('any', '{"__proto__":1'), { status: 400, body: { code: 'malformed-json' } })
  t.equal(({} as Record<string, unknown>).admin, undefined)
})

t.test('a fault of a poisoned body is named with all others', async (t) => {
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

t.test('every schema that checks a body is valid JSON Schema', async (t) => {
  const app = await build(t, embedded)
  const ajv = new Ajv2020()
  for (const [name, schema] of Object.entries(app.getSchemas())) t.ok(ajv.validateSchema(schema as object), `${name}: ${ajv.errorsText()}`)
})
