// Mistakes that the types of declarations refuse: the type check must refuse each line below an `@ts-expect-error` and accept all others.
import { choice, decimal, id, integer, nullable, reference, stamps, text, time } from '../../src/query/fields.ts'
import { numeric, textual, tree } from '../../src/query/lookups.ts'
import { type Declaration, defineResource } from '../../src/query/resource.ts'

/** Every field is a column of products and has the type of its column. */
const contract = {
  id: id(),
  sku: nullable(text({ maxLength: 64 })),
  name: text({ maxLength: 255 }),
  price: decimal({ precision: 10, scale: 2 }),
  stock: integer({ minimum: 0, maximum: 100 }),
  category: nullable(reference('categories')),
  ...stamps,
}

type Products = Declaration<'products', typeof contract, 'id' | 'name' | 'price' | 'category' | 'updated_at'>

const right: Products = {
  table: 'products',
  singular: 'product',
  contract,
  filter: {
    sku: textual,
    name: textual,
    price: numeric,
    stock: ['gt', 'in'],
    category: tree,
    created_at: numeric,
    id: ['exact', 'range', 'isnull'],
  },
  search: ['name', 'sku'],
  order: ['id', 'name', 'price', 'category', 'updated_at'],
  defaultOrder: '-price',
  unique: [['sku'], ['category', 'name']],
  slug: { field: 'sku', from: 'name' },
}

defineResource(right)

// A table and its columns. The types of the other members follow from the contract.
const bare = { singular: 'product', filter: {}, search: [], order: ['id'], defaultOrder: 'id' } as const
const bareContract = { id: id(), ...stamps }

defineResource({ ...bare, table: 'products', contract: { ...bareContract, category: nullable(reference('categories')) } })
// @ts-expect-error no table
defineResource({ ...bare, table: 'nothing', contract: bareContract })
// @ts-expect-error a column of another table
defineResource({ ...bare, table: 'categories', contract: { ...bareContract, sku: nullable(text({ maxLength: 64 })) } })
// @ts-expect-error no column
defineResource({ ...bare, table: 'products', contract: { ...bareContract, colour: text({ maxLength: 10 }) } })
// @ts-expect-error a text for a whole number
defineResource({ ...bare, table: 'products', contract: { ...bareContract, stock: text({ maxLength: 10 }) } })
// @ts-expect-error a whole number for a price
defineResource({ ...bare, table: 'products', contract: { ...bareContract, price: integer({ minimum: 0, maximum: 9 }) } })
// @ts-expect-error a price for a whole number
defineResource({ ...bare, table: 'products', contract: { ...bareContract, stock: decimal({ precision: 5, scale: 2 }) } })
// @ts-expect-error null for a column that has none
defineResource({ ...bare, table: 'products', contract: { ...bareContract, name: nullable(text({ maxLength: 64 })) } })
// @ts-expect-error a column that has nulls
defineResource({ ...bare, table: 'products', contract: { ...bareContract, sku: text({ maxLength: 64 }) } })
// @ts-expect-error no field
defineResource({ ...bare, table: 'products', contract: { ...bareContract, name: { type: 'string' } } })
// @ts-expect-error no stamps
defineResource({ ...bare, table: 'products', contract: { id: id(), category: nullable(reference('categories')) } })
// @ts-expect-error no id
defineResource({ ...bare, table: 'products', contract: { ...stamps } })
// @ts-expect-error a reference to no table
reference('nothing')

// A choice is the union of its words. Its column holds text or the same words.
const size = choice(['S', 'M', 'L'], { default: 'M' })
export const word: 'S' | 'M' | 'L' = size.static
defineResource({ ...bare, table: 'products', contract: { ...bareContract, name: size, sku: nullable(size) } })
// @ts-expect-error none of the words
export const noWord: 'S' | 'M' = size.static
// @ts-expect-error a default that is none of the words
choice(['S', 'M', 'L'], { default: 'XL' })
// @ts-expect-error null for a column that has none
defineResource({ ...bare, table: 'products', contract: { ...bareContract, name: nullable(size) } })
// @ts-expect-error a word for a whole number
defineResource({ ...bare, table: 'products', contract: { ...bareContract, stock: size } })

// Filters.
// @ts-expect-error no field
export const noField: Products['filter'] = { colour: ['exact'] }
// @ts-expect-error a field of the table that is not in the contract
export const noContract: Products['filter'] = { brand: textual }
// @ts-expect-error no lookup
export const noLookup: Products['filter'] = { name: ['contains'] }
// @ts-expect-error a comparison of texts
export const textCompared: Products['filter'] = { name: ['gt'] }
// @ts-expect-error a part of a number
export const partOfNumber: Products['filter'] = { stock: ['icontains'] }
// @ts-expect-error a part of a price
export const partOfPrice: Products['filter'] = { price: textual }
// @ts-expect-error a prefix of a time
export const prefixOfTime: Products['filter'] = { created_at: ['istartswith'] }
// @ts-expect-error the tree lookup `under` on a number
export const underNumber: Products['filter'] = { stock: ['under'] }
// @ts-expect-error the slug of a text
export const slugOfText: Products['filter'] = { name: ['slug'] }
// @ts-expect-error a comparison of references
export const referenceCompared: Products['filter'] = { category: ['lt'] }

// Search, order, unique sets, slugs.
// @ts-expect-error no field
export const searchNowhere: Products['search'] = ['colour']
// @ts-expect-error no text
export const searchNumber: Products['search'] = ['price']
// @ts-expect-error no field
export const orderNowhere: Products['order'] = ['colour']
// @ts-expect-error a direction is the client's to choose
export const orderDescending: Products['order'] = ['-price']
// @ts-expect-error no field
export const defaultNowhere: Products['defaultOrder'] = 'colour'
// @ts-expect-error no field, descending
export const defaultNowhereDescending: Products['defaultOrder'] = '-colour'
// @ts-expect-error a field by which lists are not ordered
export const defaultNotOffered: Products['defaultOrder'] = '-stock'
// @ts-expect-error no field
export const uniqueNowhere: Products['unique'] = [['sku', 'colour']]
// @ts-expect-error no field
export const slugNowhere: Products['slug'] = { field: 'sku', from: 'colour' }
// @ts-expect-error no text
export const slugOfNumber: Products['slug'] = { field: 'sku', from: 'stock' }

// Fields.
// @ts-expect-error a text has a longest
text({})
// @ts-expect-error a whole number has a range
integer({ minimum: 0 })
// @ts-expect-error a price is written as text
decimal({ precision: 10, scale: 2, default: 0 })
// @ts-expect-error no option
time({ maxLength: 5 })

// Required members.
const { search: _, ...noSearch } = right
// @ts-expect-error the fields to search
defineResource(noSearch)
// @ts-expect-error no member of a declaration
defineResource({ ...right, lookups: {} })
