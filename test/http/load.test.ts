// Detection of a finished start and of overload, from windows in milliseconds on a simulated clock.
import t from 'tap'
import { type Gauges, Load } from '../../src/http/load.ts'

/** Heap use below and above the limit, in per cent. */
const [FREE, FULL] = [10, 90]

function simulate() {
  let now = 1_000
  let heap = FREE
  const gauges: Gauges = { now: () => now, heapUsed: () => heap, heapLimit: 100 }
  const load = new Load(gauges)
  load.begin()
  return {
    load,
    look(window: number, heapUsed = FREE) {
      now += window
      heap = heapUsed
      load.sample()
    },
  }
}

function simulateSettled() {
  const { load, look } = simulate()
  while (!load.hasSettled) look(50)
  return { load, look }
}

const starts: [what: string, windows: number[], expected: boolean][] = [
  ['no window was measured', [], false],
  ['the first turns are late', [900, 400, 300], false],
  ['too few windows are on time', [50, 50], false],
  ['a late window among them', [50, 50, 300, 50, 50], false],
  ['the last three are on time', [2_500, 300, 50, 60, 200], true],
  ['a busy machine is never on time', Array(20).fill(500), true],
]
for (const [what, windows, expected] of starts) {
  t.test(`the start is ${expected ? '' : 'not '}over: ${what}`, async (t) => {
    const { load, look } = simulate()
    for (const window of windows) look(window, FULL)
    t.equal(load.hasSettled, expected)
    t.equal(load.overload, undefined, 'nothing counts as overload during the start')
    if (expected) await load.settled
  })
}

const delay = { measure: 'eventLoopDelay' }
const heap = { measure: 'heapUsedBytes', value: FULL }
const loads: [what: string, looks: [window: number, heap?: number][], expected: object | undefined][] = [
  ['everything is on time', [[250], [260]], undefined],
  ['a single turn is late, however late', [[250], [60_000]], undefined],
  ['two turns are late', [[1_500], [1_500]], undefined],
  ['all turns are somewhat late, as on a busy machine', Array(50).fill([950]), undefined],
  ['three turns in a row are late', [[1_100], [1_200], [1_300]], { ...delay, value: 1_300 }],
  ['a turn among them is on time', [[1_100], [1_100], [300], [1_100], [1_100]], undefined],
  ['the delay is over', [[1_100], [1_100], [1_100], [300]], undefined],
  ['the heap is full', [[250, FULL]], heap],
  ['the heap was full', [[250, FULL], [250]], undefined],
]
for (const [what, looks, expected] of loads) {
  t.test(`the process is ${expected ? '' : 'not '}overloaded: ${what}`, async (t) => {
    const { load, look } = simulateSettled()
    for (const [window, heapUsed] of looks) look(window, heapUsed)
    t.strictSame(load.overload, expected)
  })
}

t.test('Load settles when it watches by itself and when it is stopped', async (t) => {
  const load = new Load()
  load.start()
  t.equal(load.hasSettled, false)
  // The timers of Load do not keep the process alive.
  const alive = setInterval(() => {}, 1_000)
  await load.settled
  clearInterval(alive)
  load.stop()
  const other = new Load()
  other.stop()
  await other.settled
  t.equal(other.hasSettled, true)
})
