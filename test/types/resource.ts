// What must not compile in a declaration. The type check fails where one of these lines no longer is an error.
import { id, integer, stamps, text } from '../../src/query/fields.ts'
import { defineResource } from '../../src/query/resource.ts'

const contract = { id: id(), name: text({ maxLength: 255 }), ...stamps }
const rest = { singular: 'category', search: [], order: ['id'], defaultOrder: 'id', filter: {} } as const

defineResource({ ...rest, table: 'categories', contract })

// @ts-expect-error: there is no such table
defineResource({ ...rest, table: 'nothing', contract })

// @ts-expect-error: the table has no such column
defineResource({ ...rest, table: 'categories', contract: { ...contract, colour: text({ maxLength: 9 }) } })

// @ts-expect-error: the column holds text
defineResource({ ...rest, table: 'categories', contract: { ...contract, slug: integer({ minimum: 0, maximum: 9 }) } })

// @ts-expect-error: the column can be null, and the field cannot
defineResource({ ...rest, table: 'categories', contract: { ...contract, parent: integer({ minimum: 0, maximum: 9 }) } })

// @ts-expect-error: the contract has no such field
defineResource({ ...rest, table: 'categories', contract, filter: { slug: ['exact'] } })

// @ts-expect-error: there is no such lookup
defineResource({ ...rest, table: 'categories', contract, filter: { name: ['like'] } })

// @ts-expect-error: a text is not compared as a number is
defineResource({ ...rest, table: 'categories', contract, filter: { name: ['gte'] } })

// @ts-expect-error: a number is not searched as a text is
defineResource({ ...rest, table: 'categories', contract, filter: { version: ['icontains'] } })

// @ts-expect-error: a number is not searched
defineResource({ ...rest, table: 'categories', contract, search: ['version'] })

// @ts-expect-error: the contract has no such field
defineResource({ ...rest, table: 'categories', contract, order: ['slug'] })

// @ts-expect-error: lists are not ordered by it
defineResource({ ...rest, table: 'categories', contract, defaultOrder: '-name' })

// @ts-expect-error: the contract has no such field
defineResource({ ...rest, table: 'categories', contract, unique: [['slug']] })

// @ts-expect-error: a slug is made from a text
defineResource({ ...rest, table: 'categories', contract, slug: { field: 'name', from: 'version' } })
