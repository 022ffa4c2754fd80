// Categories over HTTP: slugs, unique names, and the tree.
import type { Test } from 'tap'
import type { App } from '../../src/http/routes.ts'
import { type Answer, ask, build, get, onEach } from '../helper.ts'

const LIST = '/api/categories/'

const buildUrl = (id: number) => `${LIST}${id}/`
const post = (app: App, body: object) => ask(app, 'POST', LIST, body)
const patch = (app: App, id: number, body: object) => ask(app, 'PATCH', buildUrl(id), body)

async function make(app: App, name: string, parent: number | null = null) {
  const { status, body } = await post(app, { name, parent })
  if (status !== 201) throw new Error(`${status} ${JSON.stringify(body)}`)
  return body
}

/** Returns the status, the code and the pointers of a problem. */
const summariseProblem = ({ status, body }: Answer) => [status, body.code, body.errors?.map(({ pointer }: { pointer: string }) => pointer)]

const countStatuses = (answers: Answer[]) =>
  Object.entries(Object.groupBy(answers, ({ status }) => status)).map(([status, of]) => [Number(status), of?.length])

onEach('a category can be created, read, replaced, changed and deleted', async (t, dialect) => {
  const app = await build(t, dialect)
  const root = await make(app, ' Clothing ')
  const { id, created_at, updated_at, ...record } = root
  t.strictSame(record, { name: 'Clothing', slug: 'clothing', parent: null, version: 1 })
  t.equal(created_at, updated_at)

  const created = await post(app, { name: 'Shirts', parent: id })
  const child = created.body
  t.equal(new URL(String(created.headers.location)).pathname, buildUrl(child.id))
  t.strictSame((await get(app, buildUrl(child.id))).body, child)

  const replaced = await ask(app, 'PUT', buildUrl(child.id), { name: 'Shirts' })
  t.strictSame([replaced.status, replaced.body.parent, replaced.body.version], [200, null, 2], 'PUT without a parent makes a root')
  const moved = await patch(app, child.id, { parent: id })
  t.strictSame([moved.body.parent, moved.body.name, moved.body.version], [id, 'Shirts', 3])
  t.strictSame((await patch(app, child.id, { parent: null })).body.parent, null)
  t.strictSame((await ask(app, 'PUT', buildUrl(child.id), { name: 'Shirts', parent: id })).body.parent, id)

  const before = (await get(app, buildUrl(child.id))).body
  for (const [method, body] of [
    ['PATCH', {}],
    ['PATCH', before],
    ['PUT', before],
    ['PATCH', { name: ' Shirts', parent: id, slug: 'other' }],
  ] as const) {
    const { status, body: after } = await ask(app, method, buildUrl(child.id), body)
    t.strictSame([status, after], [200, before], `${method} without changes keeps the record`)
  }

  t.strictSame((await get(app, `${LIST}?parent__isnull=true`)).body.results, [root])
  const { status, body } = await ask(app, 'DELETE', buildUrl(child.id))
  t.strictSame([status, body], [204, undefined])
  t.equal((await get(app, buildUrl(child.id))).status, 404)
  t.equal((await get(app, LIST)).body.count, 1)
  t.ok((await make(app, 'Shirts')).id > child.id, 'its id is not reused')
})

/** Names of categories under separate parents, created in this order, with the slug of each. */
const slugs: [name: string, slug: string][] = [
  ['Shirts', 'shirts'],
  ['Shirts', 'shirts-2'],
  ['SHIRTS', 'shirts-3'],
  ['Shirts!', 'shirts-4'],
  ['Shirts 2', 'shirts-2-2'],
  ['Trousers & Shorts', 'trousers-shorts'],
  ['  --Hats / Caps--  ', 'hats-caps'],
  ['snake_case', 'snake-case'],
  ['3D 42', '3d-42'],
  ['Crème brûlée', 'crème-brûlée'],
  ['Cre\u0300me bru\u0302le\u0301e', 'crème-brûlée-2'],
  ['Straße', 'straße'],
  ['Ελληνικά', 'ελληνικά'],
  ['Одежда', 'одежда'],
  ['Bread / 麵包', 'bread-麵包'],
  ['ملابس ٣', 'ملابس-٣'],
  ['हिन्दी', 'हिन्दी'],
  ['𝔘𝔫𝔦', '𝔘𝔫𝔦'],
  ['🎉 Party', 'party'],
  ['***', 'category'],
  ['🎉', 'category-2'],
  ['Category', 'category-3'],
  ['n'.repeat(255), 'n'.repeat(240)],
  [`${'n'.repeat(254)}m`, `${'n'.repeat(240)}-2`],
  ['麵'.repeat(255), '麵'.repeat(240)],
]

onEach('slugs consist of letters and digits of the name and are unique', async (t, dialect) => {
  const app = await build(t, dialect)
  const parents = await Promise.all(slugs.map((_, n) => make(app, `parent of ${n}`)))
  for (const [n, [name, slug]] of slugs.entries()) {
    t.equal((await make(app, name, parents[n].id)).slug, slug, name.slice(0, 40))
  }
  const all = await Promise.all(['page=1', 'page=2', 'page=3'].map(async (query) => (await get(app, `${LIST}?${query}`)).body.results))
  const allSlugs = all.flat().map(({ slug }) => slug)
  t.equal(new Set(allSlugs).size, slugs.length * 2)
})

onEach('a slug follows its name and becomes free when the name changes', async (t, dialect) => {
  const app = await build(t, dialect)
  const first = await make(app, 'Hats')
  const second = await make(app, 'Hats', first.id)
  const rows: [change: object, slug: string][] = [
    [{ name: 'Caps' }, 'caps'],
    [{ name: 'Hats' }, 'hats-2'],
    [{ name: 'HATS' }, 'hats-2'],
    [{ parent: null }, 'hats-2'],
    [{ slug: 'mine' }, 'hats-2'],
    [{ name: 'Hats 2' }, 'hats-2'],
    [{ name: '???' }, 'category'],
  ]
  for (const [change, slug] of rows) {
    const { status, body } = await patch(app, second.id, change)
    t.strictSame([status, body.slug], [200, slug], JSON.stringify(change))
  }
  t.equal((await ask(app, 'PUT', buildUrl(second.id), { name: 'Gloves' })).body.slug, 'gloves')
  await patch(app, first.id, { name: 'Scarves' })
  t.equal((await patch(app, second.id, { name: 'Hats' })).body.slug, 'hats', 'the earlier slug is free again')
  await ask(app, 'DELETE', buildUrl(second.id))
  t.equal((await make(app, 'hats')).slug, 'hats')

  for (let n = 2; n <= 20; n++) t.equal((await make(app, 'hats', (await make(app, `p${n}`)).id)).slug, `hats-${n}`)
})

onEach('names are unique among siblings and among roots', async (t, dialect) => {
  const app = await build(t, dialect)
  const a = await make(app, 'A')
  const b = await make(app, 'B')
  const inA = await make(app, 'Shirts', a.id)
  await make(app, 'Shirts', b.id)
  const other = await make(app, 'Other', b.id)
  const taken = [409, 'not-unique', ['/name']]
  const rows: [title: string, answer: () => Promise<Answer>, expected: unknown[] | number][] = [
    ['a second root', () => post(app, { name: 'A' }), taken],
    ['a second root, after trimming', () => post(app, { name: ' A ', parent: null }), taken],
    ['a second child', () => post(app, { name: 'Shirts', parent: a.id }), taken],
    ['a rename', () => patch(app, other.id, { name: 'Shirts' }), taken],
    ['a move', () => patch(app, inA.id, { parent: b.id }), taken],
    ['a move among the roots', () => patch(app, other.id, { name: 'A', parent: null }), taken],
    ['a replacement', () => ask(app, 'PUT', buildUrl(other.id), { name: 'B' }), taken],
    ['a child named as its parent', () => post(app, { name: 'A', parent: a.id }), 201],
    ['a root named as a child', () => post(app, { name: 'Shirts' }), 201],
    ['the same word in another case', () => post(app, { name: 'SHIRTS', parent: a.id }), 201],
    ['its own name', () => ask(app, 'PUT', buildUrl(other.id), { name: 'Other', parent: b.id }), 200],
  ]
  for (const [title, answerOf, expected] of rows) {
    const answer = await answerOf()
    t.strictSame(typeof expected === 'number' ? answer.status : summariseProblem(answer), expected, title)
  }
  t.match((await post(app, { name: 'A' })).body.errors[0].detail, String(a.id), 'the detail names the other category')
})

/** Asserts that the parents of every category lead to a root. */
async function assertTree(t: Test, app: App): Promise<void> {
  const { results } = (await get(app, `${LIST}?page_size=100`)).body
  const parents = new Map<number, number | null>(results.map(({ id, parent }: { id: number; parent: number | null }) => [id, parent]))
  const endless = [...parents.keys()].filter((id) => {
    let above: number | null | undefined = id
    for (let level = 0; level <= parents.size && above; level++) above = parents.get(above)
    return above
  })
  t.strictSame(endless, [], 'every category is below a root')
}

onEach('concurrent categories of the same name get different slugs', async (t, dialect) => {
  const app = await build(t, dialect)
  const parents = await Promise.all(Array.from({ length: 20 }, (_, n) => make(app, `parent ${n}`)))
  const answers = await Promise.all(parents.map(({ id }) => post(app, { name: 'Shirts', parent: id })))
  t.strictSame(countStatuses(answers), [[201, 20]])
  t.equal(new Set(answers.map(({ body }) => body.slug)).size, 20)
  t.ok(answers.every(({ body }) => /^shirts(-\d+)?$/.test(body.slug)))

  const same = await Promise.all(Array.from({ length: 10 }, () => post(app, { name: 'Root' })))
  t.strictSame(
    countStatuses(same),
    [
      [201, 1],
      [409, 9],
    ],
    'only one root has the name',
  )
})

const subjects: Record<string, (t: Test, app: App) => Promise<void>> = {
  'one answer names every fault of a body': async (t, app) => {
    const { id } = await make(app, 'Root')
    const rows: [json: string, expected: string[]][] = [
      ['{}', ['/name']],
      ['{"name":null,"parent":"1"}', ['/name', '/parent']],
      ['{"name":" ","parent":1.5,"titel":"x"}', ['/name', '/parent', '/titel']],
      [`{"name":"a","parent":${id + 1}}`, ['/parent']],
      ['{"name":"a","parent":0}', ['/parent']],
      ['{"name":"a\\u0000"}', ['/name']],
      ['{"name":"\\udc00"}', ['/name']],
      [`{"name":${JSON.stringify('😀'.repeat(256))}}`, ['/name']],
      ['[]', ['']],
    ]
    for (const [json, expected] of rows) {
      for (const [method, url] of [
        ['POST', LIST],
        ['PUT', buildUrl(id)],
      ] as const) {
        const answer = await ask(app, method, url, json, { 'content-type': 'application/json' })
        const [status, code, places] = summariseProblem(answer)
        t.strictSame([status, code, places.sort()], [400, 'invalid-request', expected], `${method} ${json.slice(0, 40)}`)
      }
    }
    t.strictSame(summariseProblem(await patch(app, id, { name: null })), [400, 'invalid-request', ['/name']])
    t.equal((await patch(app, id, { name: '😀'.repeat(255) })).status, 200)
  },

  'a category cannot be moved below itself': async (t, app) => {
    const a = await make(app, 'a')
    const b = await make(app, 'b', a.id)
    const c = await make(app, 'c', b.id)
    const cycle = [409, 'cycle', ['/parent']]
    for (const [title, id, parent] of [
      ['itself', a.id, a.id],
      ['its child', a.id, b.id],
      ['its grandchild', a.id, c.id],
      ['itself, from further down', c.id, c.id],
    ] as const) {
      t.strictSame(summariseProblem(await patch(app, id, { parent })), cycle, `PATCH below ${title}`)
      t.strictSame(summariseProblem(await ask(app, 'PUT', buildUrl(id), { name: 'x', parent })), cycle, `PUT below ${title}`)
    }
    t.match((await patch(app, a.id, { parent: a.id })).body.errors, [{ detail: 'is this category itself' }])
    t.match((await patch(app, a.id, { parent: c.id })).body.errors, [{ detail: 'is below this category' }])
    t.match((await patch(app, a.id, { parent: 9_999 })).body.errors, [{ detail: 'no parent with the id 9999 exists' }])
    t.strictSame((await get(app, buildUrl(a.id))).body, a, 'nothing changed')
    t.equal((await patch(app, c.id, { parent: a.id })).status, 200, 'one level up')
    t.equal((await patch(app, b.id, { parent: c.id })).status, 200, 'a former descendant can become the parent')
  },

  'concurrent moves cannot form a cycle': async (t, app) => {
    for (const size of [2, 2, 3, 12]) {
      const ring = await Promise.all(Array.from({ length: size }, (_, n) => make(app, `${size} ${n} ${performance.now()}`)))
      const answers = await Promise.all(ring.map(({ id }, n) => patch(app, id, { parent: ring[(n + 1) % size].id })))
      t.strictSame(
        countStatuses(answers),
        [
          [200, size - 1],
          [409, 1],
        ],
        `${size} in a ring: one move is refused`,
      )
      await assertTree(t, app)
    }
  },

  'a category in use cannot be deleted, and the answer counts the uses': async (t, app) => {
    const root = await make(app, 'root')
    const product = (category: number) => ask(app, 'POST', '/api/products/', { name: 'p', price: 1, category })
    const refusedFor = async (uses: string) => {
      const { status, body } = await ask(app, 'DELETE', buildUrl(root.id))
      t.strictSame([status, body.code, body.detail], [409, 'in-use', `The category ${root.id} is referred to by ${uses}.`])
    }
    const child = await make(app, 'child', root.id)
    await refusedFor('1 category')
    const second = await make(app, 'second', root.id)
    await refusedFor('2 categories')
    const { body: first } = await product(root.id)
    await refusedFor('2 categories and 1 product')
    const others = await Promise.all([product(root.id), product(root.id)])
    await refusedFor('2 categories and 3 products')
    t.equal((await get(app, buildUrl(root.id))).status, 200)

    for (const { id } of [child, second]) t.equal((await ask(app, 'DELETE', buildUrl(id))).status, 204)
    for (const { id } of [first, ...others.map(({ body }) => body)]) await ask(app, 'PATCH', `/api/products/${id}/`, { category: null })
    t.equal((await ask(app, 'DELETE', buildUrl(root.id))).status, 204, 'nothing refers to it any more')
  },

  'a concurrent deletion leaves no reference to a missing category': async (t, app) => {
    for (let round = 0; round < 5; round++) {
      const { id } = await make(app, `round ${round}`)
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, n) =>
          n === 4
            ? ask(app, 'DELETE', buildUrl(id))
            : n % 2
              ? ask(app, 'POST', '/api/products/', { name: 'p', price: 1, category: id })
              : post(app, { name: `child ${n}`, parent: id }),
        ),
      )
      t.strictSame(
        answers.filter(({ status }) => ![201, 204, 400, 409].includes(status)),
        [],
        'each request gets an answer',
      )
      const isGone = (await get(app, buildUrl(id))).status === 404
      t.equal(isGone, answers[4]?.status === 204)
      const referring = (await get(app, `/api/products/?category=${id}`)).body.count + (await get(app, `${LIST}?parent=${id}`)).body.count
      t.equal(referring, answers.filter(({ status }) => status === 201).length)
      if (isGone) t.equal(referring, 0)
    }
  },
}

onEach('the tree of categories', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const [subject, body] of Object.entries(subjects)) await t.test(subject, (t) => body(t, app))
})
