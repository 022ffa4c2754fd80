// A resource is one declaration. These tests declare one with every kind of field over an extra table.
import { pathToFileURL } from 'node:url'
import { sql } from 'drizzle-orm'
import t, { type Test } from 'tap'
import { type Kit, defineStamps as tableStamps } from '../drizzle/served.ts'
import { defineTables } from '../drizzle/tables.ts'
import type { App } from '../src/http/routes.ts'
import { boolean, decimal, id, integer, nullable, reference, stamps, text, time } from '../src/query/fields.ts'
import { numeric, textual, tree } from '../src/query/lookups.ts'
import { loadResources } from '../src/query/registry.ts'
import { defineResource } from '../src/query/resource.ts'
import { categories } from '../src/resources/categories.ts'
import { products } from '../src/resources/products.ts'
import { type Dialect, existing } from './dialects.ts'
import { createExtraTables, tables } from './extra-tables.ts'
import { type Answer, ask, build, get, onEach } from './helper.ts'
import { create } from './records.ts'

const widgets = defineResource({
  table: 'widgets',
  singular: 'widget',
  contract: {
    id: id(),
    label: text({ minLength: 1, maxLength: 50 }),
    group: nullable(text({ maxLength: 500 })),
    weight: decimal({ precision: 9, scale: 3 }),
    shelf: nullable(integer({ minimum: -5, maximum: 99 })),
    fragile: boolean({ default: false }),
    due: nullable(time({})),
    category: nullable(reference('categories')),
    ...stamps,
  },
  filter: {
    label: textual,
    group: ['icontains', 'isnull'],
    weight: numeric,
    shelf: numeric,
    fragile: ['exact'],
    due: numeric,
    category: tree,
  },
  search: ['label', 'group'],
  order: ['id', 'label', 'weight', 'shelf', 'due'],
  defaultOrder: '-weight',
  unique: [['shelf', 'label']],
})

const moduleUrl = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)

const routeFile = (table: string) => `
  import { resourceRoutes } from ${moduleUrl('../src/resource-routes.ts')}
  export default async function (app) {
    resourceRoutes(app, app.resources.find((resource) => resource.table === '${table}'), { without: ['restore'] })
  }`

/** Creates the tables, and builds the application over them with a route file. */
async function buildWithWidgets(t: Test, dialect: Dialect): Promise<App> {
  const url = await dialect.create(t)
  await createExtraTables(dialect, url)

  const routes = t.testdir({ api: { widgets: { 'index.js': routeFile('widgets') } } })
  return build(t, existing(dialect, url), { resources: [...(await loadResources()), widgets], routes, tables })
}

const LIST = '/api/widgets/'

const places = ({ body }: Answer) => body.errors?.map(({ pointer }: { pointer: string }) => pointer).sort()

const RECORDS = [
  { label: 'Anvil', weight: '40.125', shelf: 1, due: '2026-01-31T12:00:00Z', category: 2 },
  { label: 'Bolt', weight: 0.005, shelf: 0, fragile: false, group: 'Zinc, Ø 5 mm' },
  { label: 'Cup', weight: '0.25', shelf: null, fragile: true, due: '2026-02-01', category: 1 },
  { label: 'Dish', weight: 1, shelf: -5, fragile: true, group: 'ANVIL shaped', due: '2026-01-31T13:00:00.5+01:00' },
]

/** Queries with the labels of the records that they find, in order. */
const queries: [query: string, labels: string][] = [
  ['', 'Anvil Dish Cup Bolt'],
  ['ordering=label', 'Anvil Bolt Cup Dish'],
  ['ordering=shelf', 'Cup Dish Bolt Anvil'],
  ['ordering=-shelf', 'Anvil Bolt Dish Cup'],
  ['ordering=due,-label', 'Bolt Anvil Dish Cup'],
  ['page_size=2&page=2', 'Cup Bolt'],
  ['search=anvil', 'Anvil Dish'],
  ['search=ø', 'Bolt'],
  ['label__istartswith=b', 'Bolt'],
  ['label__in=Cup,Bolt', 'Cup Bolt'],
  ['label__iexact!=CUP', 'Anvil Dish Bolt'],
  ['group__icontains=ZINC', 'Bolt'],
  ['group__isnull=true', 'Anvil Cup'],
  ['weight__lt=0.2501', 'Cup Bolt'],
  ['weight=40.125', 'Anvil'],
  ['weight__range=0.0051,1', 'Dish Cup'],
  ['shelf__gte=-5.5', 'Anvil Dish Bolt'],
  ['shelf__in!=0,1', 'Dish Cup'],
  ['shelf__isnull=true', 'Cup'],
  ['fragile=true', 'Dish Cup'],
  ['fragile!=true', 'Anvil Bolt'],
  ['due__gt=2026-01-31T12:00:00Z', 'Dish Cup'],
  ['due__lt=2026-02-01', 'Anvil Dish'],
  ['category__slug=tools', 'Cup'],
  ['category__under=1', 'Anvil Cup'],
  ['category__isnull=true', 'Dish Bolt'],
]

/** Members with faults, all of them named in one answer. */
const WRONG = {
  label: ' ',
  group: 'n'.repeat(501),
  weight: '1000000',
  shelf: 100,
  fragile: 'true',
  due: '31.1.2026',
  category: 1.5,
  colour: 1,
}

onEach('a declaration gives a resource its lists, its operations and its documents', async (t, dialect) => {
  const app = await buildWithWidgets(t, dialect)
  const tools = await create(app.db, categories, { name: 'Tools', parent: null })
  await create(app.db, categories, { name: 'Heavy', parent: tools.id })

  await t.test('POST creates records with the values sent', async (t) => {
    for (const record of RECORDS) t.equal((await ask(app, 'POST', LIST, record)).status, 201, record.label)
    const { body, headers } = await ask(app, 'POST', LIST, { label: ' Egg ', weight: '.06' })
    const { id, created_at, updated_at, ...egg } = body
    t.strictSame(egg, { label: 'Egg', group: null, weight: '0.060', shelf: null, fragile: false, due: null, category: null, version: 1 })
    t.equal(headers.location, `http://localhost:80${LIST}${id}/`)
    t.strictSame((await get(app, `${LIST}${id}/`)).body, body)
    t.equal((await get(app, `${LIST}4/`)).body.due, '2026-01-31T12:00:00.500Z')
    t.equal((await ask(app, 'DELETE', `${LIST}${id}/`)).status, 204)
    t.equal((await get(app, `${LIST}${id}/`)).status, 404)
  })

  await t.test('lists filter, search and order', async (t) => {
    for (const [query, labels] of queries) {
      const { status, body } = await get(app, `${LIST}?${query}`)
      t.strictSame([status, body.results?.map(({ label }: { label: string }) => label).join(' ')], [200, labels], query)
    }
    const { status, body } = await get(app, `${LIST}?wieght__gt=1&ordering=group&shelf__under=1`)
    t.strictSame(
      [status, body.errors.map(({ parameter }: { parameter: string }) => parameter)],
      [400, ['wieght__gt', 'ordering', 'shelf__under']],
    )
    t.equal(body.errors[0].suggestion, 'weight__gt')
  })

  await t.test('PUT and PATCH change records, and faults are refused', async (t) => {
    const replaced = await ask(app, 'PUT', `${LIST}2/`, { label: 'Bolt', weight: 2, due: '2026-01-31 ' })
    t.strictSame(replaced.body, {
      ...replaced.body,
      group: null,
      shelf: null,
      weight: '2.000',
      due: '2026-01-31T00:00:00.000Z',
      version: 2,
    })
    const same = await ask(app, 'PATCH', `${LIST}2/`, { weight: '2.0', due: '2026-01-31T01:00:00+01:00', fragile: false })
    t.strictSame(same.body, replaced.body, 'a PATCH without changes keeps the version')
    const changed = await ask(app, 'PATCH', `${LIST}2/`, { fragile: true, due: null, category: tools.id })
    t.strictSame([changed.body.fragile, changed.body.due, changed.body.category, changed.body.version], [true, null, 1, 3])

    const wrong = await ask(app, 'POST', LIST, WRONG)
    t.strictSame(
      [wrong.status, places(wrong)],
      [
        400,
        Object.keys(WRONG)
          .map((member) => `/${member}`)
          .sort(),
      ],
    )
    const missing = await ask(app, 'POST', LIST, {})
    t.strictSame([missing.status, places(missing)], [400, ['/label', '/weight']])
    const nowhere = await ask(app, 'PATCH', `${LIST}2/`, { category: 99 })
    t.strictSame([nowhere.status, places(nowhere)], [400, ['/category']])
  })

  await t.test('declared unique sets are enforced', async (t) => {
    const twice = (body: object) => ask(app, 'POST', LIST, { weight: 1, ...body })
    const duplicate = await twice({ label: 'Anvil', shelf: 1 })
    t.strictSame([duplicate.status, duplicate.body.code, places(duplicate)], [409, 'not-unique', ['/label']])
    t.equal((await twice({ label: 'Anvil', shelf: 2 })).status, 201)
    t.equal((await twice({ label: 'Cup', shelf: null })).status, 409, 'records without a shelf count as on the same shelf')
    t.equal((await ask(app, 'PATCH', `${LIST}3/`, { shelf: 2, label: 'Anvil' })).status, 409)
  })

  await t.test('its references protect the records that they name', async (t) => {
    const { categories } = app.db.tables
    t.equal(
      await app.db.read
        .select()
        .from(categories)
        .then((rows) => rows.length),
      2,
    )
    const failure = await app.db
      .write((tx) => tx.run(sql`delete from categories where id = 2`))
      .catch((error) => app.db.classifyFailure(error))
    t.equal(failure, 'reference')
  })

  await t.test('the OpenAPI document describes it', async (t) => {
    const document = app.swagger() as unknown as {
      paths: Record<string, Record<string, { operationId: string; parameters: { name: string }[] }>>
      components: { schemas: Record<string, { properties: object }> }
    }
    const operations = Object.values(document.paths)
      .flatMap((item) => Object.values(item))
      .map(({ operationId }) => operationId)
    t.strictSame(
      operations.sort(),
      ['bulk', 'create', 'history', 'list', 'merge', 'read', 'remove', 'replace'].map((name) => `widgets.${name}`),
    )
    t.notOk(JSON.stringify(document.paths[`${LIST}bulk/`]).includes('"example"'), 'fields without examples lead to no example')
    t.ok(['Widget', 'WidgetInput', 'WidgetPatch', 'WidgetList'].every((name) => name in document.components.schemas))
    t.strictSame(Object.keys(document.components.schemas.Widget?.properties ?? {}), Object.keys(widgets.contract))
    const parameters = document.paths[LIST]?.get?.parameters.map(({ name }) => name)
    const filters = queries.flatMap(([query]) => [...query.matchAll(/(?:^|&)([^=]+)=/g)].map(([, name]) => name))
    t.strictSame(
      filters.filter((name) => !parameters?.includes(String(name))),
      [],
    )
  })
})

onEach('a route file in the folder of another resource is refused', async (t, dialect) => {
  const routes = t.testdir({ api: { gadgets: { 'index.js': routeFile('products') } } })
  await t.rejects(build(t, dialect, { routes }), {
    message: 'the routes of products are added at /api/gadgets: move the file to routes/api/products/index.ts',
  })
})

t.test('other exports of a resource file are ignored', async (t) => {
  const folder = (files: Record<string, string>) => pathToFileURL(`${t.testdir(files)}/`)
  const again = `export { products } from ${moduleUrl('../src/resources/products.ts')}`
  const files = { 'a.ts': `${again}\nexport const SIZES = ['S', 'M']\nexport const nothing = null`, 'b.ts': again, 'c.txt': '' }
  t.strictSame(await loadResources(folder(files)), [products])
  const copy = `import { products } from ${moduleUrl('../src/resources/products.ts')}
    import { defineResource } from ${moduleUrl('../src/query/resource.ts')}
    const { table, singular, contract, search } = products
    export const other = defineResource({ table, singular, contract, search: [], filter: {}, order: ['id'], defaultOrder: 'id' })`
  await t.rejects(loadResources(folder({ 'd.ts': again, 'e.ts': copy })), {
    message: /declares two resources of the table products/,
  })
})

/** Declarations over products that contradict the table or themselves, with the expected message. */
const base = {
  contract: { id: id(), name: text({ maxLength: 255 }), ...stamps },
  filter: {},
  search: [],
  order: ['id'],
  defaultOrder: 'id',
}
const long = { ...base.contract, description: text({ maxLength: 256 }) }
const other = { ...base.contract, category: reference('products') }
const sku = nullable(text({ maxLength: 64 }))
const named = { contract: { ...base.contract, sku }, unique: [['sku']] }
const price = decimal({ precision: 10, scale: 2, readOnly: true })
/** A table with two nullable columns, without the indexes that compare rows without a value. */
const shelved = {
  table: 'widgets',
  contract: {
    id: id(),
    label: text({ maxLength: 50 }),
    shelf: nullable(integer({ minimum: 0, maximum: 9 })),
    place: nullable(integer({ minimum: 0, maximum: 9 })),
    ...stamps,
  },
}
const shelvedTables = (kit: Kit) => ({
  ...defineTables(kit),
  widgets: kit.table(
    'widgets',
    { id: kit.id(), label: kit.text().notNull(), shelf: kit.integer(), place: kit.integer(), ...tableStamps(kit) },
    (t) => [kit.uniqueIndex('widgets_shelf_label', t.shelf, t.label), kit.uniqueIndex('widgets_shelf_place', t.shelf, t.place)],
  ),
})
const bad: [title: string, declaration: object, message: RegExp][] = [
  ['a field that is no column', { contract: { ...base.contract, colour: text({ maxLength: 10 }) } }, /products.*colour/],
  ['a filter on no field', { filter: { colour: ['exact'] } }, /products.*colour/],
  ['a lookup of another kind', { filter: { name: ['gt'] } }, /products\.name.*text.*gt/],
  [
    'a prefix of a text too long for its index',
    { contract: long, filter: { description: ['istartswith'] } },
    /products\.description.*255.*istartswith/,
  ],
  [
    'the whole of a text too long for its index',
    { contract: long, filter: { description: ['iexact'] } },
    /products\.description.*255.*iexact/,
  ],
  ['a filter that no index leads to', { contract: long, filter: { description: ['exact'] } }, /products\.description.*index/],
  ['an order that no index has', { contract: long, order: ['id', 'description'] }, /products\.description.*index/],
  ['a default order that is not offered', { defaultOrder: 'name' }, /cannot order by name/],
  ['the slug of a table without slugs', { contract: other, filter: { category: ['slug'] } }, /products.*slug/],
  [
    'a name that URLs and SQL do not share',
    { contract: { ...base.contract, dueAt: sku } },
    /products: the field dueAt is not valid: write lower case/,
  ],
  ['a name with the mark of lookups', { contract: { ...base.contract, due__at: sku } }, /products: the field due__at is not valid/],
  ['a singular that is no identifier', { singular: 'the product' }, /products: the singular the product is not valid/],
  [
    'a filter that is a parameter of lists',
    { contract: { ...base.contract, count: sku }, filter: { count: ['exact'] } },
    /products\.count cannot have the lookup exact: every list has the parameter count/,
  ],
  [
    'a search in a column of the index',
    { contract: { ...base.contract, rank: sku }, search: ['rank'] },
    /products\.rank cannot be searched/,
  ],
  [
    'an index entry that PostgreSQL refuses',
    { contract: { ...base.contract, brand: text({ maxLength: 700 }) } },
    /products: an entry of the index products_by_brand can have 2808 bytes, but at most 2600 are allowed/,
  ],
  [
    'a reference to another table than that of its column',
    { contract: other },
    /products\.category refers to products, but its column refers to categories: write reference/,
  ],
  [
    'a column that refers to a table, and a field that does not',
    { contract: { ...base.contract, category: nullable(integer({ minimum: 1, maximum: 9 })) } },
    /products\.category refers to no table, but its column refers to categories/,
  ],
  ['no stamps', { contract: { id: id(), name: base.contract.name } }, /products lacks created_at, updated_at, version .*\.\.\.stamps/],
  ['unique without a unique index', { unique: [['name']] }, /products: name must be unique.*kit\.uniqueIndex\('products_name', t\.name\)/],
  ['a unique index that is not declared', { contract: named.contract }, /products: the unique index products_sku.*add \['sku'\] to unique/],
  [
    'rows without a value that are not compared',
    { ...shelved, unique: [['shelf', 'label']] },
    /shelf and label.*rows without shelf: add kit\.uniqueIndex\('widgets_label_without_shelf', t\.label\)\.where\(sql`shelf is null`\)/,
  ],
  ['two fields that can be null in one set', { ...shelved, unique: [['shelf', 'place']] }, /widgets: shelf and place can be null/],
  [
    'a NOT NULL column that is not in the contract',
    named,
    /products\.price is NOT NULL without a default, and the contract does not contain it/,
  ],
  [
    'a NOT NULL column that bodies cannot set',
    { ...named, contract: { ...named.contract, price } },
    /products\.price is NOT NULL without a default, and bodies cannot set it/,
  ],
  ['the lookup under, in a table without a tree', { contract: other, filter: { category: ['under'] } }, /products.*parent/],
]

onEach('a declaration that contradicts itself or its table is refused before the first request', async (t, dialect) => {
  const url = await dialect.create(t)
  for (const [title, declaration, message] of bad) {
    const building = async () => {
      const resource = defineResource({ table: 'products', singular: 'product', ...base, ...declaration } as never)
      await build(t, existing(dialect, url), { resources: [resource], routes: t.testdir(), tables: shelvedTables as never })
    }
    await t.rejects(building(), { message }, title)
  }
})
