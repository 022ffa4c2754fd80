// Lists of the records of a group, by various queries. All records fit on one page.
import type { List } from './history.ts'
import { type Group, PAGE_SIZE } from './session.ts'
import type { Body } from './subject.ts'

export function createLists({ brand, names, category, products: subjects }: Group): List[] {
  const list = (query: string, includes: List['includes'] = () => true, more: Partial<List> = {}): List => ({
    path: `/api/products/?${query}`,
    subjects,
    includes,
    size: PAGE_SIZE,
    ...more,
  })
  const comparePrices = (one: Body, other: Body) => Number(one.price) - Number(other.price)
  const isRed: List['includes'] = ({ name }) => /red/i.test(String(name))
  const isInCategory: List['includes'] = (body) => body.category === category.id
  const size = `page_size=${PAGE_SIZE}`
  return [
    list(`brand=${brand}&${size}`),
    list(`${size}&brand=${brand}&ordering=-price`, undefined, { order: (one, other) => comparePrices(other, one) }),
    list(`${size}&ordering=price,-id&brand__iexact=${brand.toUpperCase()}`, undefined, { order: comparePrices }),
    list(`brand=${brand}&stock__lt=50&${size}`, ({ stock }) => Number(stock) < 50),
    list(`brand__in=${brand},nothing&count=exact&price__gte=250&${size}`, (body) => Number(body.price) >= 250),
    list(`brand=${brand}&page_size=3`, undefined, { size: 3 }),
    list(`search=${brand}&${size}`),
    list(`search=red+${brand}&${size}`, isRed),
    list(`category=${category.id}&${size}`, isInCategory),
    list(`brand=${brand}&name__icontains=RED&category__isnull=false&${size}`, (body) => isRed(body) && isInCategory(body)),
    ...names.flatMap((name) => {
      const slug = name.replace(' ', '-')
      return [
        list(`category__slug=${slug}&${size}`, isInCategory, { slug: { category, value: slug } }),
        { path: `/api/categories/?slug=${slug}`, subjects: [category], includes: (body: Body) => body.slug === slug, size: 20 },
      ]
    }),
  ]
}

/** Returns the list of all products with the newest first, of which `others` are not among the subjects. */
export const createWholeList = (subjects: List['subjects'], others: number): List => ({
  path: '/api/products/?ordering=-id&page_size=1',
  subjects,
  includes: () => true,
  size: 1,
  order: (one, other) => Number(other.id) - Number(one.id),
  others,
})
