// Before anything is measured: both servers have to do the same work.
import { isDeepStrictEqual } from 'node:util'
import { newProducts } from './catalogue.ts'
import { withKey } from './key.ts'
import type { Job } from './load.ts'

/** The two servers answer differently, so that comparing their speed would say nothing. */
export class NotTheSame extends Error {}

/** Of the paths of a kind. All of a list's, so that what servers remember of a query is there before anything is measured. */
const SAMPLES = 50

interface Answered {
  status: number
  body: Record<string, unknown>
}

/** `ours` and `floor` are the paths that each is asked for. Throws NotTheSame. */
export async function checkSame(origins: [ours: string, floor: string], ours: Job['requests'], floor: Job['requests']): Promise<void> {
  if ('create' in ours) return checkCreate(origins, ours.create)
  if ('update' in ours) throw new Error('the floor updates nothing')
  const theirs = 'paths' in floor ? floor.paths : []
  for (const [index, path] of ours.paths.slice(0, SAMPLES).entries()) await checkRead(origins, [path, theirs[index] ?? ''])
}

async function checkRead([ours, floor]: [string, string], [path, floorPath]: [string, string]): Promise<void> {
  const a = await ask(`${ours}${path}`)
  const b = await ask(`${floor}${floorPath}`)
  expectEqual(path, 'status', a.status, b.status)
  if (a.status !== 200) throw new NotTheSame(`${path} is answered with ${a.status}`)
  if (!('results' in a.body)) return expectEqual(path, 'record', a.body, b.body)
  expectEqual(path, 'records', a.body.results, b.body.results)
  expectEqual(path, 'next link', a.body.next === null, b.body.next === null)
  if (a.body.count === b.body.count) return
  // A server may count no further than it needs to, and then count all where it is asked to.
  const exact = await ask(`${ours}${path}${path.includes('?') ? '&' : '?'}count=exact`)
  expectEqual(path, 'count', exact.status === 200 ? exact.body.count : a.body.count, b.body.count)
}

/** What each makes of a body, and that both refuse what is none. */
async function checkCreate([ours, floor]: [string, string], path: string): Promise<void> {
  const { value: body } = newProducts('SAME').next()
  const rows: [status: number, body: object][] = [
    [201, body],
    [409, body],
    [201, { name: ' Trimmed ', price: 29.9 }],
    [400, { name: 'No price' }],
    [400, { name: 'Too exact', price: '29.999' }],
    [400, { name: 'Coerced', price: '1.00', stock: '5' }],
    [400, { name: 'Unknown member', price: '1.00', colour: 'red' }],
    [400, { name: 'No such category', price: '1.00', category: 999_999_999 }],
  ]
  for (const [status, sent] of rows) {
    const init = { method: 'POST', headers: { 'content-type': 'application/json', ...withKey }, body: JSON.stringify(sent) }
    const what = `POST ${path} ${init.body}`
    const [a, b] = [await ask(`${ours}${path}`, init), await ask(`${floor}${path}`, init)]
    expectEqual(what, 'status', [a.status, b.status], [status, status])
    if (status !== 201) continue
    expectEqual(what, 'record', given(a.body), given(b.body))
    for (const [origin, { body }] of [
      [ours, a],
      [floor, b],
    ] as const) {
      const stored = await ask(`${origin}${path}${body.id}/`)
      expectEqual(what, 'stored record', stored.body, body)
    }
  }
}

/** Without what differs between two databases: a refused record may use up an id. */
const given = ({ id: _id, created_at: _created, updated_at: _updated, ...rest }: Answered['body']) => rest

async function ask(url: string, init?: RequestInit): Promise<Answered> {
  const response = await fetch(url, init)
  return { status: response.status, body: (await response.json()) as Answered['body'] }
}

function expectEqual(what: string, part: string, ours: unknown, floor: unknown): void {
  if (isDeepStrictEqual(ours, floor)) return
  throw new NotTheSame(`${what}: another ${part}\n  ours:  ${JSON.stringify(ours)}\n  floor: ${JSON.stringify(floor)}`)
}
