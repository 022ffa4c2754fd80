// Checks before a measurement that both servers respond alike.
import { isDeepStrictEqual } from 'node:util'
import { generateBodies } from './catalogue.ts'
import { withKey } from './key.ts'
import type { LoadJob } from './load.ts'

/** The servers respond differently, so a comparison of their speed would mean nothing. */
export class NotTheSame extends Error {}

/** Paths to check per kind: all paths of lists, which warms the caches of both servers. */
const SAMPLES = 50

interface JsonResponse {
  status: number
  body: Record<string, unknown>
}

/** Checks the responses to `ours` and `floor`. Throws NotTheSame if they differ. */
export async function checkSame(
  origins: [ours: string, floor: string],
  ours: LoadJob['requests'],
  floor: LoadJob['requests'],
): Promise<void> {
  if ('create' in ours) return checkCreate(origins, ours.create)
  if ('update' in ours) throw new Error('The floor has no updates to compare.')
  const theirs = 'paths' in floor ? floor.paths : []
  for (const [index, path] of ours.paths.slice(0, SAMPLES).entries()) await checkRead(origins, [path, theirs[index] ?? ''])
}

async function checkRead([ours, floor]: [string, string], [path, floorPath]: [string, string]): Promise<void> {
  const a = await fetchJson(`${ours}${path}`)
  const b = await fetchJson(`${floor}${floorPath}`)
  expectEqual(path, 'status', a.status, b.status)
  if (a.status !== 200) throw new NotTheSame(`${path}: status ${a.status}`)
  if (!('results' in a.body)) return expectEqual(path, 'record', a.body, b.body)
  expectEqual(path, 'records', a.body.results, b.body.results)
  expectEqual(path, 'next link', a.body.next === null, b.body.next === null)
  if (a.body.count === b.body.count) return
  // Our server may stop counting early; `count=exact` makes it count all.
  const exact = await fetchJson(`${ours}${path}${path.includes('?') ? '&' : '?'}count=exact`)
  expectEqual(path, 'count', exact.status === 200 ? exact.body.count : a.body.count, b.body.count)
}

/** Checks that both servers create the same record from a body, and refuse the same invalid bodies. */
async function checkCreate([ours, floor]: [string, string], path: string): Promise<void> {
  const { value: body } = generateBodies('SAME').next()
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
    const [a, b] = [await fetchJson(`${ours}${path}`, init), await fetchJson(`${floor}${path}`, init)]
    expectEqual(what, 'status', [a.status, b.status], [status, status])
    if (status !== 201) continue
    expectEqual(what, 'record', omitGenerated(a.body), omitGenerated(b.body))
    for (const [origin, { body }] of [
      [ours, a],
      [floor, b],
    ] as const) {
      const response = await fetchJson(`${origin}${path}${body.id}/`)
      expectEqual(what, 'stored record', response.body, body)
    }
  }
}

/** Omits the members that differ between two databases: a refused record may use up an id. */
const omitGenerated = ({ id: _id, created_at: _created, updated_at: _updated, ...rest }: JsonResponse['body']) => rest

async function fetchJson(url: string, init?: RequestInit): Promise<JsonResponse> {
  const response = await fetch(url, init)
  return { status: response.status, body: (await response.json()) as JsonResponse['body'] }
}

function expectEqual(what: string, part: string, ours: unknown, floor: unknown): void {
  if (isDeepStrictEqual(ours, floor)) return
  throw new NotTheSame(`${what}: ${part} differs\n  ours:  ${JSON.stringify(ours)}\n  floor: ${JSON.stringify(floor)}`)
}
