// Load is shed before the process falls over: on a real server whose event loop is really late.
import t from 'tap'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { build } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

/** Milliseconds of each turn of the event loop: later than is allowed, on any machine. */
const TURN = 1_100

/** Blocks the event loop in each turn, until it is told not to. */
function overload(): () => void {
  let on = true
  const block = () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TURN)
    if (on) setTimeout(block)
  }
  setTimeout(block)
  return () => {
    on = false
  }
}

const SHOP = 'https://shop.example.com'

t.test('while the process is behind, requests are refused, and who watches it is answered', async (t) => {
  const log: string[] = []
  const app = await build(t, embedded, {
    env: { LOG_LEVEL: 'warn', CORS_ORIGINS: SHOP },
    shedding: true,
    log: { write: (line) => log.push(line) },
  })
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  const ask = (path: string) => fetch(`${origin}${path}`, { headers: { origin: SHOP } })
  const statuses = (paths: string[]) => Promise.all(paths.map(async (path) => (await ask(path)).status))
  t.strictSame(await statuses(['/api/products/', '/livez', '/readyz']), [200, 200, 200], 'before')

  const start = performance.now()
  const relieve = overload()
  t.teardown(relieve)
  let answer = await ask('/api/products/')
  while (answer.status === 200) answer = await ask('/api/products/')
  t.equal(answer.status, 503)
  t.match(await answer.json(), { code: 'overloaded', status: 503, instance: answer.headers.get('x-request-id') })
  t.equal(answer.headers.get('retry-after'), '5')
  t.equal(answer.headers.get('x-content-type-options'), 'nosniff')
  t.equal(answer.headers.get('access-control-allow-origin'), SHOP, 'pages of other origins can read it')
  const paths = ['/livez', '/readyz', '/livez/', '/readyz/', '/openapi.json', '/api/nothing/', '/docs/']
  t.strictSame(await statuses(paths), [200, 200, 200, 200, 503, 503, 503], 'meanwhile')

  relieve()
  while ((await ask('/api/products/')).status !== 200);
  t.strictSame(await statuses(['/api/products/', '/docs/']), [200, 200], 'afterwards')
  t.strictSame([...new Set(log.map((line) => JSON.parse(line).msg))], ['overloaded: requests are refused'], 'the log says so')
  t.ok(log.length <= 1 + (performance.now() - start) / 10_000, 'but not for each request')
})
