// Clients that write and read at random over HTTP, and a check of every read against the acknowledged writes.
import { randomUUID } from 'node:crypto'
import { Agent } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import { connect, type Query } from '../dialects.ts'
import type { Scope } from '../node-process.ts'
import { createLists, createWholeList } from './lists.ts'
import { askUntilServed } from './process.ts'
import { pickWeighted, randomPrice } from './random.ts'
import { createRecord, listReads, listWrites, MIN_RECORDS, readList, readRecord } from './requests.ts'
import {
  type Client,
  type Group,
  getRecordUrl,
  listExisting,
  NO_ROUTE,
  type Options,
  parseBody,
  type Report,
  Session,
  setting,
} from './session.ts'
import { type Body, json, OTHER_PROGRAM, Subject } from './subject.ts'

const CLIENTS = 8
const GROUPS = 4
/** The probability that a client reads its own write at once. */
const READ_OWN_WRITE = 0.6
/** Milliseconds after which an outdated record counts as never updated. */
const PATIENCE = 5_000
/** Milliseconds between two writes of another program. */
const OTHER_PROGRAM_EVERY = 25

/** Lets clients write and read for a time, and checks the history. */
export async function runWorkload(scope: Scope, options: Options): Promise<Report> {
  const { origins, database, holding = [], seconds = Number.POSITIVE_INFINITY, requests = Number.POSITIVE_INFINITY } = options
  const session = new Session(scope, options)
  const { history, figures, prefix } = session
  const agent = new Agent({ keepAlive: true })
  scope.teardown(() => agent.destroy())
  const send = (method: string, path: string, body?: Body) => askUntilServed(agent, origins[0] as string, method, path, { body })

  const clients = Array.from({ length: CLIENTS }, () => session.createClient())
  const [firstClient] = clients as [Client]
  const wholeList = createWholeList(session.products, Number(parseBody(await send('GET', '/api/products/?page_size=1&count=exact'))?.count))
  const groups = await Promise.all(Array.from({ length: GROUPS }, (_, index) => createGroup(session, firstClient, index, send)))
  const routes = await findRoutes(groups[0] as Group, send)
  const [writes, reads] = [listWrites(session, routes), listReads(session, routes, wholeList)]

  const query = await connect(scope, database)
  const holder = holding.length > 0 ? await connect(scope, database) : undefined
  for (const statement of holding) await holder?.(statement)
  const deadline = performance.now() + seconds * 1_000
  const isRunning = () => performance.now() < deadline && figures.reads + figures.writes < requests

  const runClient = async (client: Client) => {
    while (isRunning()) {
      const group = session.pick(groups)
      if (session.shouldWrite()) {
        await pickWeighted(writes)(client, group)
        if (Math.random() < READ_OWN_WRITE) await readOwnWrite(session, client, group)
      } else await pickWeighted(reads)(client, group)
    }
  }
  const runOtherProgram = async (client: Client) => {
    while (isRunning()) {
      const group = session.pick(groups)
      const subject = session.pick(listExisting(group))
      const startedAt = performance.now()
      const result = await changePrice(query, subject, randomPrice())
      if (result) {
        figures['by another program']++
        const { version, ...body } = result
        const write = { instance: OTHER_PROGRAM, startedAt, endedAt: performance.now() }
        history.addWrite(subject, version, write, { effects: [setting(body)] })
        client.last = subject
        await readOwnWrite(session, client, group)
      }
      await setTimeout(OTHER_PROGRAM_EVERY)
    }
  }
  await Promise.all([...clients.map(runClient), runOtherProgram(session.createClient())])
  if (holding.length > 0) await holder?.('rollback')

  const rows = await query(`select sku, version from products where sku like '${prefix}%'`)
  const versions = new Map(rows.map(({ sku, version }) => [sku, Number(version)]))
  for (const [{ key }, version] of history.lastVersions())
    if (key.startsWith(prefix) && (versions.get(key) ?? Number.POSITIVE_INFINITY) !== version)
      history.addFault('other version in the database', `${key}: ${versions.get(key)}, and not ${version}`)
  if (figures.stored > 0 && figures.hits === 0) history.addFault('cache without hits', json(figures))
  const faults = history.check()
  return { faults, figures: { ...figures, 'backward reads': history.backwardReads, 'worst lag': Math.round(history.worstLag) } }
}

type Send = (method: string, path: string, body?: Body) => ReturnType<typeof askUntilServed>

/** Creates a category with some products. */
async function createGroup(session: Session, client: Client, index: number, send: Send): Promise<Group> {
  const brand = `${session.prefix}g${index}x`
  const names = ['a', 'b', 'c'].map((letter) => `${brand} ${letter}`)
  const body = { name: names[0] }
  const answer = await send('POST', '/api/categories/', body)
  const { startedAt, endedAt } = answer
  const { id } = parseBody(answer) as Body
  const category = new Subject(`category ${id}`)
  session.addWrite(client, category, `/api/categories/${id}/`, { instance: 0, startedAt, endedAt }, answer, setting(body))
  const group: Group = { brand, category, names, products: [], lists: [] }
  group.lists = createLists(group)
  while (listExisting(group).length < MIN_RECORDS + 2) await createRecord(session, client, group)
  return group
}

/** Finds out which optional routes the service has. */
async function findRoutes(group: Group, send: Send) {
  const hasRoute = async (...request: Parameters<Send>) => !NO_ROUTE.includes((await send(...request)).status)
  const [example] = listExisting(group) as [Subject]
  return {
    cachedDetail: await hasRoute('GET', `${getRecordUrl(example)}cached_detail/`),
    stock: await hasRoute('POST', `${getRecordUrl(example)}stock/`, {}),
    bulk: await hasRoute('POST', '/api/products/bulk/', {}),
  }
}

/** Reads as often as there are instances, since any of them may have an outdated entry. */
async function readOwnWrite(session: Session, client: Client, { lists }: Group): Promise<void> {
  const { last } = client
  for (const _ of session.origins) {
    if (last?.key.startsWith(session.prefix) && last.id !== undefined) await readRecord(session, client, last, getRecordUrl(last))
    await readList(session, client, session.pick(lists))
  }
}

/** Writes as another program. Returns the resulting version and price, or undefined if the record no longer exists. */
async function changePrice(query: Query, { id }: Subject, price: string): Promise<{ version: number; price: string } | undefined> {
  await query('begin')
  await query(`update products set price = ${Math.round(Number(price) * 100)} where id = ${id}`)
  const [row] = await query(`select version, price from products where id = ${id}`)
  await query('commit')
  return row && { version: Number(row.version), price: (Number(row.price) / 100).toFixed(2) }
}

/** Measures, without other load, for how many ms the last instance shows the old state after writes at the first instance and by another program. */
export async function measureIdleLags(
  scope: Scope,
  { origins, database }: Pick<Options, 'origins' | 'database'>,
  times: number,
): Promise<number[]> {
  const agent = new Agent({ keepAlive: true })
  scope.teardown(() => agent.destroy())
  const query = await connect(scope, database)
  const [writer, reader] = [origins[0] as string, origins.at(-1) as string]
  const brand = `k${randomUUID().slice(0, 8)}`
  const { text } = await askUntilServed(agent, writer, 'POST', '/api/products/', { body: { name: 'Quiet', price: '0.00', brand } })
  const { id } = JSON.parse(text)
  const url = getRecordUrl({ id })
  const paths = [url, `/api/products/?brand=${brand}`, `/api/products/?search=${brand}&ordering=-price`]
  const read = async (path: string) => {
    const { text, startedAt } = await askUntilServed(agent, reader, 'GET', path)
    const body = JSON.parse(text)
    return { startedAt, price: (body.results?.[0] ?? body).price as string }
  }
  const lags: number[] = []
  for (let time = 1; time <= times; time++) {
    // Two reads of each path fill the cache.
    for (const path of [...paths, ...paths]) await read(path)
    const price = `${time}.00`
    if (time % 2 === 0) await query(`update products set price = ${time * 100} where id = ${id}`)
    else await askUntilServed(agent, writer, 'PATCH', url, { body: { price } })
    const acknowledgedAt = performance.now()
    const measureLag = async (path: string) => {
      for (let lag = 0; ; ) {
        const answer = await read(path)
        if (answer.price === price) return lag
        lag = answer.startedAt - acknowledgedAt
        if (lag > PATIENCE) return Number.POSITIVE_INFINITY
      }
    }
    lags.push(Math.max(...(await Promise.all(paths.map(measureLag)))))
  }
  return lags
}
