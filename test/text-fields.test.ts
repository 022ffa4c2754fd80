// Control characters in texts of request bodies.
import { connect } from './dialects.ts'
import { ask, build, get, onEach } from './helper.ts'

const LIST = '/api/products/'
const shirt = { name: 'Shirt', price: '1.00' }

onEach('control characters in a text are refused', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', LIST, shirt)
  await ask(app, 'POST', '/api/categories/', { name: 'Shoes' })
  const codes = [0x00, 0x01, 0x08, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f, 0x80, 0x85, 0x9f]
  const requests: [method: 'POST' | 'PUT' | 'PATCH', url: string, body: (text: string) => object, pointer: string][] = [
    ['POST', LIST, (name) => ({ ...shirt, name }), '/name'],
    ['POST', LIST, (sku) => ({ ...shirt, sku }), '/sku'],
    ['PUT', `${LIST}1/`, (brand) => ({ ...shirt, brand }), '/brand'],
    ['PATCH', `${LIST}1/`, (description) => ({ description }), '/description'],
    ['POST', `${LIST}1/stock/`, (reason) => ({ delta: 1, reason }), '/reason'],
    ['POST', `${LIST}bulk/`, (name) => ({ operations: [{ op: 'update', id: 1, body: { name } }] }), '/operations/0/body/name'],
    ['PATCH', '/api/categories/1/', (name) => ({ name }), '/name'],
    ['POST', '/api/keys/', (name) => ({ name, role: 'read' }), '/name'],
    ['POST', `${LIST}1/notify_update/`, (message) => ({ message }), '/message'],
  ]
  for (const [method, url, body, pointer] of requests) {
    for (const code of codes) {
      const answer = await ask(app, method, url, body(`a${String.fromCharCode(code)}b`))
      const detail = new RegExp(`^has the control character U\\+${code.toString(16).toUpperCase().padStart(4, '0')}: `)
      t.match(answer, { status: 400, body: { code: 'invalid-request', errors: [{ pointer, detail }] } }, `${method} ${url} ${code}`)
    }
  }
  t.match((await get(app, `${LIST}1/`)).body, { ...shirt, version: 1 })
})

onEach('only multi-line texts accept newlines and tabs', async (t, dialect) => {
  const app = await build(t, dialect)
  const description = 'One\r\n\tTwo\nThree'
  t.match(await ask(app, 'POST', LIST, { ...shirt, description }), { status: 201, body: { description } })
  for (const space of ['\n', '\r', '\t'])
    t.match(await ask(app, 'POST', LIST, { ...shirt, name: `a${space}b` }), { status: 400, body: { errors: [{ pointer: '/name' }] } })
  const name = ' Größe ½ – 服装 👕\u200d\n'
  t.match(
    await ask(app, 'POST', LIST, { ...shirt, name }),
    { status: 201, body: { name: name.trim() } },
    'surrounding space is trimmed before the check',
  )
})

onEach('control characters of existing records are shown, found, and survive changes of other members', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', LIST, shirt)
  const query = await connect(t, app.config.DATABASE_URL)
  await query("update products set name = 'a\u0001b'")
  const { body } = await get(app, `${LIST}1/`)
  t.equal(body.name, 'a\u0001b')
  t.equal((await get(app, `${LIST}?name=a%01b`)).body.count, 1)
  t.match(await ask(app, 'PATCH', `${LIST}1/`, { price: '2.00' }), { status: 200, body: { name: body.name, price: '2.00' } })
  t.match(await ask(app, 'PUT', `${LIST}1/`, body), { status: 400, body: { errors: [{ pointer: '/name' }] } })
  t.match(await ask(app, 'PUT', `${LIST}1/`, { ...body, name: 'ab' }), { status: 200, body: { name: 'ab' } })
})
