// Rate limits over a sliding window, in process memory and in Redis.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { createStoreClass, type Quota, type RequestLog } from '../../src/limits/log.ts'
import { MemoryLog } from '../../src/limits/memory.ts'
import { openRedis, RedisLog } from '../../src/limits/redis.ts'
import { prefixFor, REDIS, skip } from '../redis.ts'
import { startProxy } from '../tcp-proxy.ts'

interface LogWithClock {
  log: RequestLog
  clock: { now: number }
}

const never: RequestLog = {
  take: () => {
    throw new Error('Redis is away')
  },
  peek: () => {
    throw new Error('Redis is away')
  },
}

const kinds: { name: string; skip: string | false; open(t: Test): Promise<(limit: number, window: number) => LogWithClock> }[] = [
  {
    name: 'memory',
    skip: false,
    async open() {
      return (limit, window) => {
        const clock = { now: 0 }
        return { clock, log: new MemoryLog({ limit, window, clock: () => clock.now }) }
      }
    },
  },
  {
    name: 'redis',
    skip,
    async open(t) {
      const prefix = prefixFor(t)
      const redis = await openRedis(REDIS, { prefix })
      t.teardown(() => redis.close())
      let policies = 0
      return (limit, window) => {
        const clock = { now: 0 }
        const policy = `test-${policies++}`
        return { clock, log: new RedisLog(redis, { policy, limit, window }, never, { prefix, clock: () => clock.now }) }
      }
    },
  },
]

function onBoth(title: string, body: (t: Test, make: (limit: number, window: number) => LogWithClock) => Promise<void>): void {
  for (const { name, skip, open } of kinds) t.test(`${title} [${name}]`, { skip }, async (t) => body(t, await open(t)))
}

const WINDOW = 60_000

onBoth('a batch of requests is counted entirely or not at all', async (t, make) => {
  const { log, clock } = make(10, WINDOW)
  t.strictSame(await log.take('a', 4), { current: 4, ttl: WINDOW })
  clock.now += 10
  t.strictSame(await log.take('a', 5), { current: 9, ttl: WINDOW - 10 })
  t.strictSame(await log.take('a', 2), { current: 11, ttl: WINDOW - 10 }, 'refused until one of the first batch leaves the window')
  t.strictSame(await log.take('a', 6), { current: 11, ttl: WINDOW }, 'refused until one of the second batch leaves the window')
  t.strictSame(await log.take('a'), { current: 10, ttl: WINDOW - 10 }, 'refused requests were not counted')
  clock.now += WINDOW - 10
  t.strictSame(await log.take('a', 4), { current: 10, ttl: 10 })
})

onBoth('any window admits at most the limit', async (t, make) => {
  const { log, clock } = make(100, WINDOW)
  clock.now = 1_000
  for (let n = 1; n <= 100; n++) {
    t.strictSame(await log.take('a'), { current: n, ttl: WINDOW - (n - 1) * 10 })
    clock.now += 10
  }
  t.strictSame(await log.take('a'), { current: 101, ttl: WINDOW - 1_000 }, 'one more is refused')
  t.strictSame(await log.peek('a'), { current: 100, ttl: WINDOW - 1_000 })
  t.strictSame(await log.take('b'), { current: 1, ttl: WINDOW }, 'other clients have separate limits')
  clock.now = 1_000 + WINDOW - 0.001
  t.match(await log.take('a'), { current: 101 }, 'a microsecond too early')
  clock.now = 1_000 + WINDOW
  t.strictSame(await log.take('a'), { current: 100, ttl: 10 }, 'the first has left the window, and refused requests never counted')
  t.match(await log.take('a'), { current: 101 })
  clock.now += 2 * WINDOW
  t.strictSame(await log.peek('a'), { current: 0, ttl: 0 }, 'all have left the window')
  t.strictSame(await log.take('a'), { current: 1, ttl: WINDOW })
})

/** The definition of a sliding window limit, implemented directly. */
class Model {
  readonly admitted = new Map<string, number[]>()
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  take(client: string, now: number): { current: number; ttl: number } {
    const all = this.admitted.get(client) ?? []
    const inWindow = all.filter((time) => time > now - WINDOW)
    if (inWindow.length >= this.#limit) return { current: this.#limit + 1, ttl: (inWindow[0] as number) + WINDOW - now }
    this.admitted.set(client, [...all, now])
    return { current: inWindow.length + 1, ttl: (inWindow[0] ?? now) + WINDOW - now }
  }

  peek(client: string, now: number): { current: number; ttl: number } {
    const inWindow = (this.admitted.get(client) ?? []).filter((time) => time > now - WINDOW)
    return { current: inWindow.length, ttl: inWindow[0] === undefined ? 0 : inWindow[0] + WINDOW - now }
  }
}

const arrivals = fc.array(
  fc.record({
    after: fc.oneof(fc.constantFrom(0, 1, WINDOW, WINDOW - 1, WINDOW / 2), fc.nat(WINDOW / 3), fc.nat(200)),
    client: fc.constantFrom('a', 'a', 'a', 'b', 'c'),
    counts: fc.constantFrom(true, true, true, false),
  }),
  { maxLength: 120, size: 'max' },
)

onBoth('any sequence of requests is admitted as the model says, and no window exceeds the limit', async (t, make) => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 10, max: 70 })), arrivals, async (limit, requests) => {
      const { log, clock } = make(limit, WINDOW)
      const model = new Model(limit)
      clock.now = 5_000
      for (const { after, client, counts } of requests) {
        clock.now += after
        const { current, ttl } = await (counts ? log.take(client) : log.peek(client))
        const expected = counts ? model.take(client, clock.now) : model.peek(client, clock.now)
        if (current !== expected.current || Math.abs(ttl - expected.ttl) > 0.01)
          throw new Error(`${client} at ${clock.now}: ${JSON.stringify({ current, ttl })} instead of ${JSON.stringify(expected)}`)
      }
      for (const times of model.admitted.values()) {
        for (const time of times) {
          const window = times.filter((other) => other > time - WINDOW && other <= time)
          if (window.length > limit) throw new Error(`${window.length} in the window that ends at ${time}`)
        }
      }
    }),
    { numRuns: 60, seed: 11 },
  )
  t.pass('in every run')
})

t.test('concurrent clients of one Redis admit exactly the limit', { skip }, async (t) => {
  const prefix = prefixFor(t)
  const logs = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const redis = await openRedis(REDIS, { prefix })
      t.teardown(() => redis.close())
      return new RedisLog(redis, { policy: 'parallel', limit: 100, window: WINDOW }, never, { prefix })
    }),
  )
  const usages = (await Promise.all(logs.map((log) => Promise.all(Array.from({ length: 50 }, async () => log.take('a')))))).flat()
  const admitted = usages.filter(({ current }) => current <= 100)
  t.strictSame(
    admitted.map(({ current }) => current).sort((a, b) => a - b),
    Array.from({ length: 100 }, (_, n) => n + 1),
    'each of a hundred places is given once',
  )
  t.equal(usages.length - admitted.length, 300)
  t.ok(usages.every(({ ttl }) => ttl > 0 && ttl <= WINDOW))
})

t.test('memory evicts the client with the fewest requests first', async (t) => {
  const full = (options: { maxClients?: number; maxRequests?: number }) => {
    const clock = { now: 0 }
    let forgotten = 0
    const onEvict = () => forgotten++
    const log = new MemoryLog({ limit: 5, window: WINDOW, clock: () => clock.now, onEvict, ...options })
    const ask = (...clients: string[]) => clients.map((client) => log.take(client).current)
    const readCounts = (...clients: string[]) => clients.map((client) => log.peek(client).current)
    return { log, clock, ask, readCounts, forgotten: () => forgotten }
  }
  await t.test('the limit of clients evicts others than the newcomer', async (t) => {
    const { ask, readCounts, forgotten, log } = full({ maxClients: 3 })
    ask('a', 'a', 'a', 'b', 'b', 'c')
    t.strictSame(ask('d'), [1], 'the newcomer is admitted')
    t.strictSame(readCounts('a', 'b', 'c', 'd'), [3, 2, 0, 1])
    t.strictSame(ask('e', 'f', 'g', 'h'), [1, 1, 1, 1])
    t.strictSame(readCounts('a', 'b', 'd', 'g', 'h'), [3, 2, 0, 0, 1], 'each newcomer evicts the previous one')
    t.equal(forgotten(), 5)
    t.strictSame(log.size, { clients: 3, requests: 6 })
  })
  await t.test('among equal clients the oldest is evicted', async (t) => {
    const { ask, readCounts } = full({ maxClients: 3 })
    ask('a', 'b', 'c', 'a')
    ask('d')
    t.strictSame(readCounts('a', 'b', 'c', 'd'), [2, 0, 1, 1])
  })
  await t.test('expired requests do not count in evictions', async (t) => {
    const { ask, readCounts, clock, forgotten } = full({ maxClients: 3 })
    ask('a', 'a', 'a', 'a', 'b', 'b')
    clock.now = 50_000
    ask('a', 'c', 'c', 'c')
    clock.now = 61_000
    t.strictSame(ask('d'), [1])
    t.equal(forgotten(), 0, 'all requests of b have expired')
    t.strictSame(readCounts('a', 'b', 'c', 'd'), [1, 0, 3, 1])
    ask('e')
    t.strictSame(readCounts('a', 'c', 'd', 'e'), [0, 3, 1, 1], 'one of five requests is left, and it is the oldest')
  })
  await t.test('the limit of requests never evicts the requesting client', async (t) => {
    const { ask, readCounts, log } = full({ maxRequests: 6 })
    ask('a', 'a', 'a', 'b', 'b', 'c')
    t.strictSame(ask('c'), [2], 'the requesting client has the fewest and is spared')
    t.strictSame(readCounts('a', 'b', 'c'), [3, 0, 2])
    t.strictSame(ask('a', 'a', 'a'), [4, 5, 6])
    t.strictSame(readCounts('a', 'c'), [5, 0])
    t.strictSame(ask('x', 'y'), [1, 1])
    t.strictSame(readCounts('a', 'x', 'y'), [5, 0, 1], 'a client at the limit stays at it')
    t.strictSame(log.size, { clients: 2, requests: 6 })
  })
  t.throws(() => full({ maxRequests: 5 }), RangeError, 'a request limit too small for one client is refused')
})

/** A limiter that scans all requests each time, as a model. */
class SlowLog {
  readonly requests: { client: string; time: number }[] = []
  /** Clients in the order in which they reached their present number of requests. */
  order: string[] = []
  readonly #limit: number
  readonly #maxClients: number
  readonly #maxRequests: number

  constructor(limit: number, maxClients: number, maxRequests: number) {
    this.#limit = limit
    this.#maxClients = maxClients
    this.#maxRequests = maxRequests
  }

  count = (client: string) => this.requests.filter((request) => request.client === client).length

  expire(now: number): void {
    while (this.requests[0] && this.requests[0].time <= now - WINDOW) this.#moved(this.requests.shift()?.client as string)
  }

  take(client: string, now: number): number {
    this.expire(now)
    if (this.count(client) >= this.#limit) return this.#limit + 1
    if (this.count(client) === 0 && this.order.length >= this.#maxClients) this.#forget(client)
    if (this.requests.length >= this.#maxRequests) this.#forget(client)
    this.requests.push({ client, time: now })
    this.#moved(client)
    return this.count(client)
  }

  #moved(client: string): void {
    this.order = [...this.order.filter((other) => other !== client), ...(this.count(client) > 0 ? [client] : [])]
  }

  #forget(asking: string): void {
    const others = this.order.filter((client) => client !== asking)
    const fewest = Math.min(...others.map(this.count))
    const victim = others.find((client) => this.count(client) === fewest)
    this.requests.splice(0, this.requests.length, ...this.requests.filter(({ client }) => client !== victim))
    this.order = this.order.filter((client) => client !== victim)
  }
}

t.test('memory evicts the same clients as the model for any sequence of requests', async (t) => {
  const anyRequests = fc.array(fc.record({ after: fc.oneof(fc.constant(0), fc.nat(15_000)), client: fc.nat(12).map(String) }), {
    maxLength: 150,
    size: 'max',
  })
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 7, max: 15 }),
      anyRequests,
      (limit, maxClients, maxRequests, requests) => {
        const clock = { now: 0 }
        const log = new MemoryLog({ limit, window: WINDOW, clock: () => clock.now, maxClients, maxRequests })
        const model = new SlowLog(limit, maxClients, maxRequests)
        for (const { after, client } of requests) {
          clock.now += after
          const [actual, expected] = [log.take(client).current, model.take(client, clock.now)]
          if (actual !== expected) throw new Error(`${client} at ${clock.now}: ${actual} instead of ${expected}`)
          if (log.size.requests !== model.requests.length || log.size.clients !== model.order.length)
            throw new Error(`size ${JSON.stringify(log.size)}`)
        }
      },
    ),
    { numRuns: 500, seed: 3 },
  )
  t.pass('in every run')
})

t.test('expired entries are evicted lazily and never counted', async (t) => {
  const clock = { now: 0 }
  const log = new MemoryLog({
    limit: 5,
    window: WINDOW,
    clock: () => clock.now,
    maxClients: 2_000,
    onEvict: () => t.fail('a client was forgotten'),
  })
  for (let times = 0; times < 4; times++) for (let n = 0; n < 2_000; n++) log.take(`c${n}`)
  clock.now += WINDOW - 1
  log.take('c1999')
  clock.now++
  t.strictSame(log.take('c1998'), { current: 1, ttl: WINDOW })
  t.ok(log.size.requests > 5_000, 'most entries are still stored')
  t.strictSame(log.peek('c1997'), { current: 0, ttl: 0 })
  t.strictSame(log.take('c1999'), { current: 2, ttl: WINDOW - 1 }, 'one of its five requests counts')
  for (let n = 0; n < 1_000; n++) t.equal(log.take(`d${n}`).current, 1)
  t.strictSame(log.size, { clients: 1_002, requests: 1_003 })
})

t.test('a stored client name does not retain the text that it was cut from', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const measureHeap = () => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const log = new MemoryLog({ limit: 5, window: WINDOW })
  const header = 'x'.repeat(10_000)
  const before = measureHeap()
  for (let n = 0; n < 5_000; n++)
    log.take(
      Buffer.from(`${n}`.padStart(20, '0') + header)
        .toString()
        .slice(0, 20),
    )
  const retained = measureHeap() - before
  t.equal(log.size.clients, 5_000)
  t.ok(retained < 5_000_000, `${retained} bytes of 50 MB`)
})

t.test('the plugin gets a log for each limit', async (t) => {
  const quotas: Quota[] = []
  const Store = createStoreClass((quota) => {
    quotas.push(quota)
    return new MemoryLog(quota)
  })
  const store = new Store({})
  const child = (options: object) => store.child(options as Parameters<typeof store.child>[0])
  const [one, other] = [child({ policy: 'one', max: 1, timeWindow: 1_000 }), child({ policy: 'other', max: 2, timeWindow: 2_000 })]
  t.strictSame(quotas, [
    { policy: 'one', limit: 1, window: 1_000 },
    { policy: 'other', limit: 2, window: 2_000 },
  ])
  const counts: (number | undefined)[] = []
  for (const each of [one, one, other]) each.incr('a', (_, usage) => counts.push(usage?.current), 0, 0)
  t.strictSame(counts, [1, 2, 1], 'the callbacks are called at once')
  store.incr('a', (error) => t.match(error, /createRateLimit/), 0, 0)
})

t.test('without Redis each process counts by itself, until Redis returns', { skip }, async (t) => {
  const prefix = prefixFor(t)
  const { url, disconnect, reconnect, setStalled } = await startProxy(t, REDIS, 6379)
  const changes: boolean[] = []
  let changed = Promise.withResolvers<boolean>()
  const redis = await openRedis(url, {
    prefix,
    onChange: (away) => {
      changes.push(away)
      changed.resolve(away)
      changed = Promise.withResolvers()
    },
  })
  t.teardown(() => redis.close())
  const fallback = new MemoryLog({ limit: 3, window: WINDOW })
  const log = new RedisLog(redis, { policy: 'away', limit: 3, window: WINDOW }, fallback, { prefix })
  const ask = async () => (await log.take('a')).current
  t.equal(await ask(), 1)
  await disconnect()
  t.equal(await ask(), 1, 'counted in this process')
  t.equal(redis.isAway, true)
  t.strictSame([await ask(), await ask(), await ask()], [2, 3, 4], 'limited in this process')
  const back = changed.promise
  await reconnect()
  t.equal(await back, false)
  t.equal(await ask(), 2, 'the count in Redis continues')
  setStalled(true)
  t.equal((await log.take('b')).current, 1, 'an unresponsive Redis is not waited for')
  t.equal(redis.isAway, true, 'the next requests do not use Redis')
  for (let n = 0; n < 20; n++) await log.take('c')
  const recovery = changed.promise
  setStalled(false)
  t.equal(await recovery, false)
  t.equal((await log.take('b')).current, 1, 'unanswered commands are not sent again')
  t.strictSame(changes, [true, false, true, false])
})

t.test('a process starts without a reachable Redis', async (t) => {
  const redis = await openRedis('redis://:secret@127.0.0.1:1', {
    onChange: (_, reason) => t.match(reason, /^connect ECONNREFUSED 127.0.0.1:1$/),
  })
  t.teardown(() => redis.close())
  const log = new RedisLog(redis, { policy: 'never', limit: 1, window: WINDOW }, new MemoryLog({ limit: 1, window: WINDOW }))
  t.strictSame([(await log.take('a')).current, (await log.take('a')).current], [1, 2])
  t.equal(redis.isAway, true)
})
