// PATCH merges JSON values member by member (RFC 7396) and compares them regardless of the order of members.

import { Type } from '@sinclair/typebox'
import t, { type Test } from 'tap'
import { buildBulkInput } from '../../src/bulk/schemas.ts'
import type { App } from '../../src/http/routes.ts'
import { describeBulk } from '../../src/openapi/operations.ts'
import { id, json, stamps, text } from '../../src/query/fields.ts'
import { loadResources } from '../../src/query/registry.ts'
import { defineResource, type Resource } from '../../src/query/resource.ts'
import { mergePatch } from '../../src/records/merge-patch.ts'
import { categories } from '../../src/resources/categories.ts'
import { products } from '../../src/resources/products.ts'
import type { Dialect } from '../dialects.ts'
import { ask, build, get, onEach } from '../helper.ts'

/** RFC 7396, appendix A: targets, patches and results. */
const appendix: [target: unknown, patch: unknown, result: unknown][] = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [
    ['a', 'b'],
    ['c', 'd'],
    ['c', 'd'],
  ],
  [{ a: 'b' }, ['c'], ['c']],
  [{ a: 'foo' }, null, null],
  [{ a: 'foo' }, 'bar', 'bar'],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
]

t.test('mergePatch gives the results of RFC 7396, appendix A', async (t) => {
  for (const [target, patch, result] of appendix) t.strictSame(mergePatch(target, patch), result, JSON.stringify([target, patch]))
})

const closed = { additionalProperties: false }
const Shape = Type.Object(
  {
    size: Type.Object({ width: Type.Integer(), height: Type.Integer() }, closed),
    tags: Type.Optional(Type.Array(Type.String(), { maxItems: 3 })),
    note: Type.Optional(Type.String({ maxLength: 5 })),
    extra: Type.Optional(Type.Object({})),
  },
  closed,
)

/** A resource over the table of webhooks, which has a JSON column. The declaration describes its contents. */
const boxes = defineResource({
  table: 'webhooks',
  singular: 'box',
  contract: { id: id(), url: text({ minLength: 1, maxLength: 50 }), events: json<string[]>(Shape), ...stamps },
  filter: {},
  search: [],
  order: ['id'],
  defaultOrder: 'id',
})

const importing = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href)

async function start(t: Test, dialect: Dialect): Promise<App> {
  const file = (body: string) => `
    import { addCreateRoute, addListRoute, addMergeRoute, addReadRoute, addReplaceRoute } from ${importing('http/routes.ts')}
    import { bulkRoute } from ${importing('bulk/route.ts')}
    export default async function (app) {
      const boxes = app.resources.find(({ singular }) => singular === 'box')
      ${body}
    }`
  const routes = t.testdir({
    boxes: {
      'index.js': file('addListRoute(app, boxes); addCreateRoute(app, boxes)'),
      _id: { 'index.js': file('addReadRoute(app, boxes); addReplaceRoute(app, boxes); addMergeRoute(app, boxes)') },
      bulk: { 'index.js': file('bulkRoute(app, boxes)') },
    },
  })
  const others = (await loadResources()).filter(({ table }) => table !== boxes.table)
  return build(t, dialect, { resources: [...others, boxes], routes })
}

const LIST = '/boxes/'
const shape = { size: { width: 1, height: 2 }, tags: ['a', 'b'], note: 'old' }

onEach('PATCH merges JSON values member by member, at any depth', async (t, dialect) => {
  const app = await start(t, dialect)
  await ask(app, 'POST', LIST, { url: 'A', events: { ...shape, extra: { deep: { x: 1, y: 2 } } } })
  const patch = async (events: object) => (await ask(app, 'PATCH', `${LIST}1/`, { events })).body.events
  const size = { width: 1, height: 3 }
  t.strictSame(await patch({ size: { height: 3 }, note: null, tags: ['c'], extra: { deep: { x: null, z: { n: 1 } } } }), {
    size,
    tags: ['c'],
    extra: { deep: { y: 2, z: { n: 1 } } },
  })
  t.strictSame(await patch({ extra: null, tags: null }), { size })
  t.strictSame(await patch({ extra: { a: { b: null, c: 1 } } }), { size, extra: { a: { c: 1 } } }, 'into an absent member')
  t.strictSame((await get(app, `${LIST}1/`)).body.events, { size, extra: { a: { c: 1 } } })
  const { body } = await ask(app, 'POST', `${LIST}bulk/`, { operations: [{ op: 'update', id: 1, body: { events: { extra: null } } }] })
  t.equal(body.succeeded, 1)
  t.strictSame((await get(app, `${LIST}1/`)).body.events, { size }, 'in a bulk request')
})

onEach('the merged value is validated, and its faults are named with the others', async (t, dialect) => {
  const app = await start(t, dialect)
  await ask(app, 'POST', LIST, { url: 'A', events: shape })
  const before = (await get(app, `${LIST}1/`)).body
  const rows: [body: object, pointers: string[]][] = [
    [{ events: { size: { width: null }, note: 'too long' } }, ['/events/note', '/events/size/width']],
    [{ events: null }, ['/events']],
    [{ events: [] }, ['/events']],
    [{ events: { x: 1 }, url: '', y: 1 }, ['/events/x', '/url', '/y']],
  ]
  for (const [body, pointers] of rows) {
    const answer = await ask(app, 'PATCH', `${LIST}1/`, body)
    const faultPointers = answer.body.errors?.map(({ pointer }: { pointer: string }) => pointer).sort()
    t.strictSame([answer.status, faultPointers], [400, pointers], JSON.stringify(body))
  }
  const deep = `{"url":"B","events":{"size":{"width":1,"height":1},"extra":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}}`
  for (const [method, url] of [
    ['PATCH', `${LIST}1/`],
    ['PUT', `${LIST}1/`],
    ['POST', LIST],
  ] as const) {
    const answer = await ask(app, method, url, deep, { 'content-type': 'application/json' })
    t.match(answer, { status: 400, body: { errors: [{ pointer: '/events', detail: /deeper than 64/ }] } }, `${method}: nested too deeply`)
  }
  t.strictSame((await get(app, `${LIST}1/`)).body, before, 'nothing changed')
})

onEach('a JSON value with its members in another order is no change', async (t, dialect) => {
  const app = await start(t, dialect)
  const extra = { a: -0, b: [{ c: 1, d: 2 }] }
  const { body: record } = await ask(app, 'POST', LIST, { url: 'A', events: { ...shape, extra } })
  const events = { extra: { b: [{ d: 2, c: 1 }], a: -0 }, tags: ['a', 'b'], note: 'old', size: { height: 2, width: 1 } }
  t.strictSame((await ask(app, 'PATCH', `${LIST}1/`, { events })).body, record)
  t.strictSame((await ask(app, 'PUT', `${LIST}1/`, { url: 'A', events })).body, record)
  const other = await ask(app, 'PATCH', `${LIST}1/`, { events: { tags: ['b', 'a'] } })
  t.equal(other.body.version, 2, 'the order of an array is a change')
  const { changes } = app.db.tables
  const log = (await app.db.read.select().from(changes).orderBy(changes.id)).filter(({ resource }) => resource === boxes.table)
  t.strictSame(
    log.map(({ fields }) => Object.keys(JSON.parse(fields))),
    [['url', 'events', 'created_at'], ['events']],
    'only changes are logged',
  )
})

t.test('the OpenAPI document of bulk requests names the field of upsert, if there is one', async (t) => {
  const text = (resource: Resource) => JSON.stringify([describeBulk(resource, buildBulkInput(resource)), buildBulkInput(resource)])
  t.match(text(products), /`upsert` changes the record with the same `sku`.*this `sku`/)
  t.notMatch(text({ ...products, unique: [['brand', 'name'], ['name']] }), /`sku`/)
  t.match(text({ ...products, unique: [['brand', 'name'], ['name']] }), /`upsert` changes the record with the same `name`.*this `name`/)
  t.notMatch(text(categories), /upsert/)
})
