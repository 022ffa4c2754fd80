// A process that cannot keep up says so, and is itself again afterwards. The event loop is really held up.
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { build } from '../helper.ts'

const [sqlite] = DIALECTS as [Dialect]

function hold(milliseconds: number): void {
  const end = performance.now() + milliseconds
  while (performance.now() < end);
}

t.test('load is shed while the event loop is late, and health checks are answered', async (t) => {
  const app = await build(t, sqlite)
  const ask = (url: string) => app.inject(url)
  t.equal((await ask('/api/products/')).statusCode, 200, 'at first')
  // Until the plugin has looked, which it does every half a second.
  let shed = await ask('/api/products/')
  for (let tries = 0; shed.statusCode === 200 && tries < 10; tries++) {
    hold(1_200)
    await setTimeout(20)
    shed = await ask('/api/products/')
  }
  t.equal(shed.statusCode, 503)
  t.match(shed.headers['retry-after'], /^[1-9]\d*$/)
  t.match(shed.json(), { code: 'overloaded', status: 503 })
  t.equal((await ask('/api/nothing')).statusCode, 503, 'whatever is asked')
  for (const url of ['/livez', '/readyz']) t.equal((await ask(url)).statusCode, 200, url)
  let answer = shed
  for (let tries = 0; answer.statusCode === 503 && tries < 100; tries++) {
    await setTimeout(100)
    answer = await ask('/api/products/')
  }
  t.equal(answer.statusCode, 200, 'and it recovers')
})
