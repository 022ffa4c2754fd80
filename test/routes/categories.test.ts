// Writing categories: slugs, names among siblings, and the tree.
import { ask, build, get, onEach } from '../helper.ts'

const URL = '/api/categories/'

const slugs: [name: string, slug: string][] = [
  ['Shirts', 'shirts'],
  ['Bread / 麵包', 'bread-麵包'],
  ['  Été & Hiver!  ', 'été-hiver'],
  ['हिन्दी किताबें', 'हिन्दी-किताबें'],
  ['ÀÉ\u0301', 'àé\u0301'],
  ['100% Cotton_Wool', '100-cotton-wool'],
  ['???', 'category'],
  ['!!!', 'category-2'],
  ['category 2', 'category-2-2'],
  ['x'.repeat(255), 'x'.repeat(240)],
]

onEach('a slug is made of the letters and digits of a name, whatever the script', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const [name, slug] of slugs) {
    const { status, body } = await ask(app, 'POST', URL, { name, slug: 'mine' })
    t.equal(status, 201, name)
    t.equal(body.slug, slug.normalize('NFC'), name)
  }
})

onEach('slugs of the same name are told apart by numbers, and follow the name', async (t, dialect) => {
  const app = await build(t, dialect)
  const make = async (body: object) => (await ask(app, 'POST', URL, body)).body
  for (const parent of [null, 1, 2, 3, 4]) t.equal((await make({ name: 'A', parent })).slug, parent === null ? 'a' : `a-${parent + 1}`)
  t.match(await ask(app, 'PATCH', `${URL}2/`, { name: 'B' }), { status: 200, body: { slug: 'b', version: 2 } })
  t.match(await ask(app, 'PATCH', `${URL}2/`, { name: 'B', slug: 'c' }), { body: { slug: 'b', version: 2 } }, 'it is read-only')
  t.match(await ask(app, 'PATCH', `${URL}3/`, { parent: null, name: 'a!' }), { body: { slug: 'a-2' } }, 'one that was given up is free')
  const parents = await Promise.all(Array.from({ length: 12 }, (_, index) => make({ name: `p${index}` })))
  const same = await Promise.all(parents.map(({ id }) => ask(app, 'POST', URL, { name: 'Shirts', parent: id })))
  t.same(new Set(same.map(({ status }) => status)), new Set([201]), 'many at once are all made')
  t.equal(new Set(same.map(({ body }) => body.slug)).size, 12, 'and no two are alike')
})

onEach('no two categories with the same parent have the same name, roots among themselves too', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', URL, { name: 'a' })
  await ask(app, 'POST', URL, { name: 'a', parent: 1 })
  await ask(app, 'POST', URL, { name: 'b' })
  const taken = (id: number) => ({
    status: 409,
    body: { code: 'not-unique', errors: [{ pointer: '/name', detail: `the category ${id} has the same parent and name` }] },
  })
  t.match(await ask(app, 'POST', URL, { name: ' a ' }), taken(1))
  t.match(await ask(app, 'POST', URL, { name: 'a', parent: 1 }), taken(2))
  t.match(await ask(app, 'PATCH', `${URL}2/`, { parent: null }), taken(1))
  t.match(await ask(app, 'PATCH', `${URL}3/`, { name: 'a' }), taken(1))
  t.match(await ask(app, 'PUT', `${URL}3/`, { name: 'a', parent: 1 }), taken(2))
  t.match(await ask(app, 'PUT', `${URL}3/`, { name: 'a', parent: 2 }), { status: 200 })
  const racing = await Promise.all(Array.from({ length: 10 }, () => ask(app, 'POST', URL, { name: 'race' })))
  t.equal(racing.filter(({ status }) => status === 201).length, 1)
  t.equal(racing.filter(({ status }) => status === 409).length, 9)
})

onEach('a category never comes to stand below itself', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const parent of [null, 1, 2, null])
    await ask(app, 'POST', URL, { name: 'c', parent, ...(parent === null && { name: `root${Math.random()}` }) })
  for (const parent of [1, 2, 3]) {
    t.match(
      await ask(app, 'PATCH', `${URL}1/`, { parent }),
      { status: 409, body: { code: 'cycle', errors: [{ pointer: '/parent' }] } },
      `1 below ${parent}`,
    )
  }
  t.match(await ask(app, 'PATCH', `${URL}1/`, { parent: 99 }), { status: 400, body: { errors: [{ pointer: '/parent' }] } })
  t.equal((await ask(app, 'PATCH', `${URL}1/`, { parent: 4 })).status, 200)
  t.equal((await ask(app, 'PATCH', `${URL}4/`, { parent: 3 })).status, 409)

  await ask(app, 'POST', URL, { name: 'x' })
  await ask(app, 'POST', URL, { name: 'y' })
  for (let round = 0; round < 20; round++) {
    const both = await Promise.all([ask(app, 'PATCH', `${URL}5/`, { parent: 6 }), ask(app, 'PATCH', `${URL}6/`, { parent: 5 })])
    t.same(both.map(({ status }) => status).toSorted(), [200, 409], 'of two moves that would make a circle one is refused')
    for (const id of [5, 6]) await ask(app, 'PATCH', `${URL}${id}/`, { parent: null })
  }
})

onEach('a category that others refer to is not deleted, and the answer says how many do', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const parent of [null, 1]) await ask(app, 'POST', URL, { name: 'c', parent })
  for (const category of [1, 1, 2]) await ask(app, 'POST', '/api/products/', { name: 'p', price: 1, category })
  t.match(await ask(app, 'DELETE', `${URL}1/`), {
    status: 409,
    body: { code: 'in-use', detail: 'The category 1 is referred to by 1 category and 2 products.' },
  })
  t.match(await ask(app, 'DELETE', `${URL}2/`), { status: 409, body: { detail: 'The category 2 is referred to by 1 product.' } })
  await ask(app, 'DELETE', '/api/products/3/')
  t.equal((await ask(app, 'DELETE', `${URL}2/`)).status, 204)
  t.equal((await get(app, `${URL}2/`)).status, 404)
  t.equal((await get(app, '/api/products/')).body.count, 2)
})

onEach('while a category is deleted, what is put into it is refused or keeps it', async (t, dialect) => {
  const app = await build(t, dialect)
  for (let round = 0; round < 15; round++) {
    const { id } = (await ask(app, 'POST', URL, { name: `c${round}` })).body
    const [deleted, ...made] = await Promise.all([
      ask(app, 'DELETE', `${URL}${id}/`),
      ...Array.from({ length: 4 }, () => ask(app, 'POST', '/api/products/', { name: 'p', price: 1, category: id })),
    ])
    const expected = deleted.status === 204 ? 400 : 201
    if (deleted.status === 204) t.same(new Set(made.map(({ status }) => status)), new Set([expected]), 'nothing refers to what is gone')
    else t.ok(made.some(({ status }) => status === 201) && deleted.status === 409, 'it stays because something refers to it')
  }
})
