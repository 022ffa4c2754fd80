// npm run soak: a flood of one million clients with one request each. Measures the memory and speed of the limiter, and checks a client
// near its limit.
import { MemoryLog } from '../../src/limits/memory.ts'

const ADDRESSES = 1_000_000
const LIMIT = 100
const WINDOW = 60_000
/** Requests of the client that the flood must not evict. */
const NEAR = LIMIT - 1

const megabytes = (bytes: number) => `${(bytes / 1_048_576).toFixed(1)} MB`
const memory = () => {
  globalThis.gc?.()
  return process.memoryUsage().rss
}

let forgotten = 0
const log = new MemoryLog({ limit: LIMIT, window: WINDOW, onEvict: () => forgotten++ })
const before = memory()
for (let n = 0; n < NEAR; n++) log.take('192.0.2.1')

let peak = before
const startedAt = performance.now()
for (let n = 0; n < ADDRESSES; n++) {
  log.take(`2001:db8:${(n >> 16).toString(16)}:${(n & 0xffff).toString(16)}::/64`)
  if (n % 50_000 === 0) peak = Math.max(peak, process.memoryUsage().rss)
}
const time = performance.now() - startedAt
peak = Math.max(peak, process.memoryUsage().rss)
const last = log.take('192.0.2.1').current
const oneMore = log.take('192.0.2.1').current
const { clients, requests } = log.size

process.stdout.write(`${ADDRESSES.toLocaleString('en')} addresses with one request each, in ${(time / 1_000).toFixed(2)} s: ${((time * 1_000) / ADDRESSES).toFixed(2)} µs a request
  remembered: ${clients.toLocaleString('en')} clients, ${requests.toLocaleString('en')} requests; forgotten: ${forgotten.toLocaleString('en')}
  memory: ${megabytes(before)} before, ${megabytes(peak)} at most, ${megabytes(memory())} after, of which ${megabytes(process.memoryUsage().heapUsed)} are used by objects
  a client with ${NEAR} of ${LIMIT}: its next request is number ${last}, and the one after that is ${oneMore > LIMIT ? 'refused' : 'ANSWERED'}
`)
if (last !== LIMIT || oneMore <= LIMIT) process.exitCode = 1

/** Measures the time of one request in the most frequent cases. */
const measure = (title: string, times: number, work: (n: number) => void) => {
  for (let n = 0; n < times / 10; n++) work(n)
  const start = performance.now()
  for (let n = 0; n < times; n++) work(n)
  process.stdout.write(`  ${title}: ${(((performance.now() - start) * 1_000_000) / times).toFixed(0)} ns\n`)
}
let now = 0
const hot = new MemoryLog({ limit: 1_000, window: WINDOW, clock: () => now })
measure('one client, below its limit', 1_000_000, () => {
  now += 61
  hot.take('a')
})
measure('one client, refused', 1_000_000, () => log.take('192.0.2.1'))
const many = new MemoryLog({ limit: 1_000, window: WINDOW, clock: () => now })
measure('50,000 clients in turn', 1_000_000, (n) => {
  now += 1
  many.take(String(n % 50_000))
})
