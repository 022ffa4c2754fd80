// Allowed targets of webhooks: checks when a webhook is created and when it connects.
import type { LookupAddress } from 'node:dns'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Server } from 'node:net'
import t from 'tap'
import { type AddressPolicy, createGuardedLookup, findUrlFaults, isPublic, refusePrivateLiteral } from '../../src/webhooks/address.ts'
import { Sender } from '../../src/webhooks/send.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { ask, build } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]
const STRICT: AddressPolicy = { allowHttp: false, allowPrivate: false }
const PUBLIC = '93.184.216.34'

/** Returns a resolver that answers with each list in turn and then repeats the last. */
function resolver(...answers: string[][]): NonNullable<AddressPolicy['resolve']> & { lookups: string[] } {
  const lookups: string[] = []
  const resolve = (name: string, _options: unknown, callback: (error: null, addresses: LookupAddress[]) => void) => {
    const addresses = answers[Math.min(lookups.length, answers.length - 1)] ?? []
    lookups.push(name)
    setImmediate(() =>
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      ),
    )
  }
  return Object.assign(resolve as never, { lookups })
}

const REFUSED_ADDRESSES = [
  ['loopback', '127.0.0.1'],
  ['loopback, as one number', '2130706433'],
  ['loopback, octal', '0177.0.0.1'],
  ['loopback, octal as one number', '017700000001'],
  ['loopback, hex', '0x7f.0.0.1'],
  ['loopback, hex as one number', '0x7f000001'],
  ['loopback, short', '127.1'],
  ['loopback, short and hex', '0x7f.1'],
  ['loopback, elsewhere', '127.255.255.254'],
  ['loopback, full-width digits', '１２７.0.0.1'],
  ['loopback, percent-encoded', '%31%32%37.0.0.1'],
  ['loopback, with a dot at its end', '127.0.0.1.'],
  ['loopback, circled digits', '①②⑦.0.0.1'],
  ['IPv6 loopback', '[::1]'],
  ['IPv6 loopback, in full', '[0:0:0:0:0:0:0:1]'],
  ['IPv6, unspecified', '[::]'],
  ['IPv4-mapped', '[::ffff:127.0.0.1]'],
  ['IPv4-mapped, hex', '[::ffff:7f00:1]'],
  ['IPv4-mapped metadata', '[::ffff:a9fe:a9fe]'],
  ['IPv4-compatible', '[::127.0.0.1]'],
  ['IPv4-translated', '[::ffff:0:127.0.0.1]'],
  ['NAT64', '[64:ff9b::7f00:1]'],
  ['NAT64 of a local network', '[64:ff9b:1::7f00:1]'],
  ['6to4', '[2002:7f00:1::]'],
  ['Teredo', '[2001:0:7f00:1::]'],
  ['IPv6 documentation', '[2001:db8::1]'],
  ['IPv6 link-local', '[fe80::1]'],
  ['IPv6 site-local', '[fec0::1]'],
  ['IPv6 unique local', '[fd00::1]'],
  ['IPv6 unique local, the other half', '[fc00::1]'],
  ['IPv6 multicast', '[ff02::1]'],
  ['unassigned IPv6', '[4000::1]'],
  ['metadata', '169.254.169.254'],
  ['metadata, as one number', '2852039166'],
  ['metadata, IPv6', '[fd00:ec2::254]'],
  ['link-local', '169.254.1.1'],
  ['private, 10', '10.0.0.1'],
  ['private, 172.16', '172.16.0.1'],
  ['private, 172.31', '172.31.255.255'],
  ['private, 192.168', '192.168.1.1'],
  ['carrier-grade NAT', '100.64.0.1'],
  ['carrier-grade NAT, the end', '100.127.255.255'],
  ['unspecified', '0.0.0.0'],
  ['unspecified, as one number', '0'],
  ['this network', '0.1.2.3'],
  ['protocol assignments', '192.0.0.1'],
  ['documentation', '192.0.2.1'],
  ['benchmarks', '198.18.0.1'],
  ['multicast', '224.0.0.1'],
  ['reserved', '240.0.0.1'],
  ['broadcast', '255.255.255.255'],
] as const

t.test('addresses that are not public are refused in any notation', async (t) => {
  const unasked = { ...STRICT, resolve: resolver([PUBLIC]) }
  for (const [what, host] of REFUSED_ADDRESSES) {
    const url = `https://${host}:8443/hook`
    t.match(await findUrlFaults(url, unasked), [{ pointer: '/url', detail: /must lead to a public address/ }], `${what}: ${host}`)
    t.throws(() => refusePrivateLiteral(new URL(url), STRICT), `${what}: ${host}, on sending`)
    t.strictSame(await findUrlFaults(url, { ...STRICT, allowPrivate: true }), [], `${what}, allowed`)
  }
  t.strictSame(unasked.resolve.lookups, [], 'they cause no look-up of a name')
})

t.test('public addresses are allowed', async (t) => {
  for (const host of [PUBLIC, '1.1.1.1', '172.32.0.1', '100.128.0.1', '[2606:4700::1111]', '[::ffff:1.1.1.1]']) {
    t.strictSame(await findUrlFaults(`https://${host}/hook`, STRICT), [], host)
    t.doesNotThrow(() => refusePrivateLiteral(new URL(`https://${host}/hook`), STRICT), host)
  }
  t.throws(() => isPublic('example.com'), 'a name is no address')
})

t.test('a name is refused if one of its addresses is not public', async (t) => {
  t.match(
    await findUrlFaults('https://localhost/hook', STRICT),
    [{ pointer: '/url', detail: /must lead to a public address/ }],
    "by the system's resolver",
  )
  for (const [addresses, refused] of [
    [['127.0.0.1'], true],
    [['::1'], true],
    [[PUBLIC, '10.0.0.1'], true],
    [['::ffff:169.254.169.254'], true],
    [[PUBLIC, '2606:4700::1111'], false],
  ] as const) {
    const faults = await findUrlFaults('https://hooks.example.com/hook', { ...STRICT, resolve: resolver([...addresses]) })
    t.equal(faults.length, refused ? 1 : 0, addresses.join())
  }
  const nowhere: AddressPolicy['resolve'] = ((_name: string, _options: unknown, callback: (error: Error) => void) =>
    callback(new Error('ENOTFOUND'))) as never
  t.match(await findUrlFaults('https://nowhere.example/hook', { ...STRICT, resolve: nowhere }), [{ detail: /does not resolve/ }])
})

t.test('URLs with credentials, fragments or other schemes are refused', async (t) => {
  const policy = { ...STRICT, resolve: resolver([PUBLIC]) }
  for (const [url, detail] of [
    ['https://user:password@example.com/', /a user or a password/],
    ['https://user@example.com/', /a user or a password/],
    ['https://:password@example.com/', /a user or a password/],
    ['http://example.com/', /WEBHOOK_ALLOW_HTTP/],
    ['https://example.com/#part', /a fragment/],
    ['ftp://example.com/', /must be a URL/],
    ['file:///etc/passwd', /must be a URL/],
    ['javascript:alert(1)', /must be a URL/],
    ['example.com', /must be a URL/],
    ['', /must be a URL/],
    ['https://', /must be a URL/],
  ] as const)
    t.match(await findUrlFaults(url, policy), [{ pointer: '/url', detail }], url)
  t.strictSame(await findUrlFaults('https://example.com/hooks?token=1', policy), [])
  t.strictSame(await findUrlFaults('http://example.com/', { ...policy, allowHttp: true }), [])
})

/** Starts a server that counts its connections. */
async function listener(t: Parameters<typeof build>[0]): Promise<{ port: number; connections: () => number; server: Server }> {
  let connections = 0
  const server = createServer((_request, response) => response.end()).on('connection', () => connections++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  return { port: (server.address() as AddressInfo).port, connections: () => connections, server }
}

t.test('a name that resolves to a private address at connection time is refused', async (t) => {
  const { port, connections } = await listener(t)
  for (const all of [true, false]) {
    const lookup = createGuardedLookup({ ...STRICT, resolve: resolver(['127.0.0.1']) })
    const socket = connect({ host: 'rebound.example', port, lookup, autoSelectFamily: all })
    const [error] = await once(socket, 'error')
    t.match(error.message, /rebound.example leads to 127.0.0.1/)
  }
  const policy = { ...STRICT, allowHttp: true, resolve: resolver([PUBLIC], ['127.0.0.1']) }
  const url = `http://rebound.example:${port}/hook`
  t.strictSame(await findUrlFaults(url, policy), [], 'it resolved to a public address when the webhook was created')
  const sender = new Sender(policy, { userAgent: 'Test' })
  t.teardown(() => sender.close())
  const result = await sender.send(url, {}, '{}', new AbortController().signal)
  t.match(result, { status: null, error: 'rebound.example leads to 127.0.0.1, which is not a public address' })
  t.equal(policy.resolve.lookups.length, 2, 'the name is looked up once more, but not a third time')
  t.equal(connections(), 0, 'no connection is made')

  const allowed = new Sender({ ...policy, allowPrivate: true, resolve: resolver(['127.0.0.1']) }, { userAgent: 'Test' })
  t.teardown(() => allowed.close())
  t.match(
    await allowed.send(url, {}, '{}', new AbortController().signal),
    { status: 200, error: null },
    'the private address is reached if it is allowed',
  )
  t.equal(connections(), 1)
})

t.test('one private address among several refuses the connection', async (t) => {
  const { port, connections } = await listener(t)
  const sender = new Sender({ ...STRICT, allowHttp: true, resolve: resolver(['127.0.0.1', PUBLIC]) }, { userAgent: 'Test' })
  t.teardown(() => sender.close())
  t.match(await sender.send(`http://mixed.example:${port}/`, {}, '{}', new AbortController().signal), {
    status: null,
    error: /not a public/,
  })
  t.equal(connections(), 0)
})

t.test('every address of a name is checked, in any position', async (t) => {
  for (const addresses of [
    [PUBLIC, '127.0.0.1'],
    [PUBLIC, '2606:4700::1111', '::1'],
    ['10.0.0.1', PUBLIC],
  ])
    for (const all of [true, false]) {
      const lookup = createGuardedLookup({ ...STRICT, resolve: resolver(addresses) })
      const [error, found] = await new Promise<unknown[]>((resolve) => lookup('mixed.example', { all }, (...result) => resolve(result)))
      t.match(error, { message: /^mixed\.example leads to (127\.0\.0\.1|::1|10\.0\.0\.1), which is not a public address$/ })
      t.strictSame(found, [], addresses.join())
    }
})

t.test('a private address in the URL is not connected to', async (t) => {
  const { port, connections } = await listener(t)
  const sender = new Sender({ ...STRICT, allowHttp: true }, { userAgent: 'Test' })
  t.teardown(() => sender.close())
  for (const host of ['127.0.0.1', '[::ffff:127.0.0.1]', '2130706433', 'localhost'])
    t.match(
      await sender.send(`http://${host}:${port}/`, {}, '{}', new AbortController().signal),
      { status: null, error: /not a public/ },
      host,
    )
  t.equal(connections(), 0)
})

t.test('a redirect to a private address is not followed', async (t) => {
  const inner = await listener(t)
  const outer = createServer((_request, response) => response.writeHead(307, { location: `http://127.0.0.1:${inner.port}/` }).end())
  outer.listen(0, '127.0.0.1')
  await once(outer, 'listening')
  t.teardown(() => void outer.close())
  const sender = new Sender({ allowHttp: true, allowPrivate: true }, { userAgent: 'Test' })
  t.teardown(() => sender.close())
  const url = `http://127.0.0.1:${(outer.address() as AddressInfo).port}/`
  t.match(await sender.send(url, {}, '{}', new AbortController().signal), { status: 307, error: 'the receiver answered 307' })
  t.equal(inner.connections(), 0)
})

t.test('the API refuses webhooks to addresses that are not public', async (t) => {
  const app = await build(t, embedded, { webhooks: { resolve: resolver([PUBLIC], ['10.0.0.1']) } })
  const make = (url: string) => ask(app, 'POST', '/api/webhooks/', { url, events: ['*'] })
  const created = await make('https://hooks.example.com/')
  t.equal(created.status, 201)
  t.match(await make('https://hooks.example.com/'), { status: 400, body: { code: 'invalid-request', errors: [{ pointer: '/url' }] } })
  for (const url of ['http://hooks.example.com/', 'https://169.254.169.254/latest', 'https://[::1]/', 'https://a:b@example.com/'])
    t.match(
      await ask(app, 'PATCH', `/api/webhooks/${created.body.id}/`, { url }),
      { status: 400, body: { errors: [{ pointer: '/url' }] } },
      url,
    )
  t.equal((await ask(app, 'GET', `/api/webhooks/${created.body.id}/`)).body.url, 'https://hooks.example.com/')
})
