// The writes and reads among which clients choose, each with a weight.

import type { List } from './history.ts'
import { pick, randomBelow, randomPrice, type Weighted } from './random.ts'
import {
  type Client,
  CROWD,
  createBody,
  type Group,
  getCategoryUrl,
  getRecordUrl,
  listExisting,
  PERMANENT,
  parseBody,
  type Session,
  setting,
} from './session.ts'
import { type Body, DELETED, type Subject } from './subject.ts'

export type Request = (client: Client, group: Group) => Promise<unknown>

/** The minimum and maximum number of records in a group. */
export const MIN_RECORDS = 5
const MAX_RECORDS = 12

/** Optional routes, which exist in some versions only. */
interface Routes {
  stock: boolean
  bulk: boolean
  cachedDetail: boolean
}

interface Operation {
  op: string
  id?: number | undefined
  body?: Body
}

export function createRecord(session: Session, client: Client, group: Group): Promise<unknown> {
  const [subject, body] = session.createProduct(group)
  return session.change(client, subject, 'POST', '/api/products/', { body })
}

async function removeRecord(session: Session, client: Client, group: Group): Promise<void> {
  const subject = pick(listExisting(group).slice(PERMANENT))
  subject.isBeingDeleted = true
  const status = await session.change(client, subject, 'DELETE', getRecordUrl(subject), {})
  // After a failed precondition the record still exists.
  if (status !== 204) subject.isBeingDeleted = subject.states.has(DELETED)
}

const createPatch =
  (session: Session, createValues: (group: Group) => Body): Request =>
  (client, group) => {
    const subject = session.pick(listExisting(group))
    return session.change(client, subject, 'PATCH', getRecordUrl(subject), { body: createValues(group) })
  }

function changeStock(session: Session, client: Client, group: Group): Promise<unknown> {
  const subject = session.pick(listExisting(group))
  const delta = pick([-60, -7, -1, 1, 5, 40])
  const effect = (before: Body) => ({ stock: Number(before.stock) + delta })
  return session.change(client, subject, 'POST', `${getRecordUrl(subject)}stock/`, { body: { delta, reason: 'test' }, effect, delta })
}

function createOperations(session: Session, group: Group): [Operation, Subject][] {
  const operations: [Operation, Subject][] = []
  const chosen = new Set(Array.from({ length: 3 }, () => pick(listExisting(group))))
  for (const subject of chosen)
    operations.push([{ op: 'update', id: subject.id, body: { price: randomPrice(), stock: randomBelow(100) } }, subject])
  const permanent = listExisting(group)[randomBelow(PERMANENT)] as Subject
  if (!chosen.has(permanent)) operations.push([{ op: 'upsert', body: createBody(group, permanent) }, permanent])
  if (listExisting(group).length < MAX_RECORDS) {
    const [subject, body] = session.createProduct(group)
    operations.push([{ op: pick(['create', 'upsert']), body }, subject])
  }
  return operations
}

async function sendBulk(session: Session, client: Client, group: Group): Promise<void> {
  const { history, figures } = session
  const operations = createOperations(session, group)
  const isAtomic = Math.random() < 0.5
  const body = { operations: operations.map(([operation]) => operation), ...(!isAtomic && { atomic: false }) }
  const outcome = await session.sendWrite(client, 'POST', '/api/products/bulk/', { body })
  if (!outcome) return
  const { answer, write } = outcome
  if (answer.status === 404 && isAtomic) return
  if (answer.status !== 200 && (answer.status !== 207 || isAtomic)) return session.addUnexpected(write.request, answer)
  figures.bulks++
  const results = parseBody(answer)?.results as { status: number; id: number; version: number; etag?: string }[]
  const batch = new Map(isAtomic ? results.map(({ version }, index) => [operations[index]?.[1] as Subject, version]) : [])
  for (const [index, { status, id, version, etag }] of results.entries()) {
    const [{ body = {} }, subject] = operations[index] as [Operation, Subject]
    if (status === 404) history.addRefusal({ ...write, subject, status })
    else if (status !== 200 && status !== 201) session.addUnexpected(`${write.request}, ${index}`, answer)
    else {
      subject.id = id
      history.addWrite(subject, version, write, { effects: [setting(body)], ...(isAtomic && { batch }) })
      if (etag) history.addTag(subject, version, etag)
    }
  }
}

export function listWrites(session: Session, routes: Routes): Weighted<Request>[] {
  const create: Request = (client, group) => createRecord(session, client, group)
  const remove: Request = (client, group) => removeRecord(session, client, group)
  return [
    [6, createPatch(session, () => ({ price: randomPrice() }))],
    [3, createPatch(session, () => ({ stock: randomBelow(100) }))],
    [2, createPatch(session, () => ({ name: `${pick(['Red', 'Blue'])} thing` }))],
    [2, createPatch(session, ({ category }) => ({ category: pick([category.id, null]) }))],
    [
      2,
      (client, group) => {
        const subject = session.pick(listExisting(group))
        return session.change(client, subject, 'PUT', getRecordUrl(subject), { body: createBody(group, subject) })
      },
    ],
    [2, (client, group) => (listExisting(group).length < MAX_RECORDS ? create : remove)(client, group)],
    [2, (client, group) => (listExisting(group).length > MIN_RECORDS ? remove : create)(client, group)],
    [
      1,
      (client, { category, names }) => session.change(client, category, 'PATCH', getCategoryUrl(category), { body: { name: pick(names) } }),
    ],
    [routes.stock ? 4 : 0, (client, group) => changeStock(session, client, group)],
    [routes.bulk ? 3 : 0, (client, group) => sendBulk(session, client, group)],
  ]
}

export const readRecord = (session: Session, client: Client, subject: Subject, url: string, method = 'GET') =>
  session.read(client, method, url, (read, status, body, tag) => {
    if (status === 200 && method === 'HEAD') {
      if (tag) session.history.addRead({ ...read, subject, body, tag })
    } else session.history.addRead({ ...read, subject, body })
    // Only at this URL does a record have the tag of its write.
    if (body && tag && url === getRecordUrl(subject)) session.history.addTag(subject, Number(body.version), tag)
  })

export const readList = (session: Session, client: Client, list: List) =>
  session.read(client, 'GET', list.path, (read, status, body) => {
    if (status !== 200) return session.history.addFault('list not found', read.request)
    const isExact = body?.count_exact !== false
    const count = isExact ? (body?.count as number | null) : null
    session.history.addListRead({ ...read, list, rows: body?.results as Body[], count })
  })

/** Picks a present or former product. */
const pickProduct = (session: Session, { products }: Group) =>
  session.pick([...products.slice(0, CROWD), ...products.slice(-2 * MAX_RECORDS)].filter(({ id }) => id !== undefined))

export function listReads(session: Session, routes: Routes, wholeList: List): Weighted<Request>[] {
  const createRead =
    (suffix = '', method = 'GET'): Request =>
    (client, group) => {
      const subject = pickProduct(session, group)
      return readRecord(session, client, subject, getRecordUrl(subject) + suffix, method)
    }
  return [
    [8, (client, group) => readList(session, client, session.pick(group.lists))],
    [5, createRead()],
    [1, createRead('', 'HEAD')],
    [1, (client, { category }) => readRecord(session, client, category, getCategoryUrl(category))],
    [1, (client) => readList(session, client, wholeList)],
    [routes.cachedDetail ? 3 : 0, createRead('cached_detail/')],
  ]
}
