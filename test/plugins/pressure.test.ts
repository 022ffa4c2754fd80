// Overload protection and readiness after a start, on a simulated clock.
import t from 'tap'
import { Load } from '../../src/http/load.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { build } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

const SHOP = 'https://shop.example.com'
const HEALTH = ['/livez', '/readyz', '/livez/', '/readyz/']
const OTHERS = ['/api/products/', '/openapi.json', '/api/nothing/', '/docs/']

t.test('a slow start is not ready but refuses nothing, and an overloaded process refuses all but health checks', async (t) => {
  const log: string[] = []
  let now = 0
  const load = new Load({ now: () => now, heapUsed: () => 0, heapLimit: 1 })
  load.begin()
  const look = (...windows: number[]) => {
    for (const window of windows) {
      now += window
      load.sample()
    }
  }
  const app = await build(t, embedded, {
    env: { LOG_LEVEL: 'warn', CORS_ORIGINS: SHOP },
    shedding: load,
    log: { write: (line) => log.push(line) },
  })
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  const ask = (path: string) => fetch(`${origin}${path}`, { headers: { origin: SHOP } })
  const statuses = (paths: string[]) => Promise.all(paths.map(async (path) => (await ask(path)).status))

  look(2_000, 2_000, 2_000)
  t.strictSame(await statuses(['/readyz', '/livez', '/api/products/']), [503, 200, 200], 'the turns of the start are late')
  t.match(await (await ask('/readyz')).json(), { code: 'not-ready', detail: 'The service is starting.' })
  look(50, 50, 50)
  t.strictSame(await statuses(['/readyz', '/api/products/']), [200, 200], 'the start is over')

  look(5_000, 250)
  t.strictSame(await statuses(OTHERS), [200, 200, 404, 200], 'a single late turn')

  look(1_100, 1_100, 1_100)
  const answer = await ask('/api/products/')
  t.equal(answer.status, 503)
  t.match(await answer.json(), { code: 'overloaded', status: 503, instance: answer.headers.get('x-request-id') })
  t.equal(answer.headers.get('retry-after'), '5')
  t.equal(answer.headers.get('x-content-type-options'), 'nosniff')
  t.equal(answer.headers.get('access-control-allow-origin'), SHOP, 'pages of other origins can read the answer')
  t.strictSame(await statuses(OTHERS), [503, 503, 503, 503])
  t.strictSame(await statuses(HEALTH), [200, 200, 200, 200])

  look(250)
  t.strictSame(await statuses(OTHERS), [200, 200, 404, 200], 'after the overload')
  const overloadLines = log.map((line) => JSON.parse(line)).filter(({ measure }) => measure)
  t.match(overloadLines, [{ msg: 'overloaded: requests are refused', measure: 'eventLoopDelay', value: 1_100 }], 'the log says it once')
})
