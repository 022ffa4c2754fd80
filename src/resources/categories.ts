import { id, nullable, reference, stamps, text } from '../query/fields.ts'
import { numeric, textual, tree } from '../query/lookups.ts'
import { defineResource } from '../query/resource.ts'

export const categories = defineResource({
  table: 'categories',
  singular: 'category',
  contract: {
    id: id(),
    name: text({ minLength: 1, maxLength: 255, description: 'Unique among the categories of a parent', examples: ['Shirts'] }),
    slug: text({
      maxLength: 255,
      readOnly: true,
      description: 'The name as a part of a URL. Unique',
      examples: ['shirts'],
    }),
    parent: nullable(reference('categories', { description: 'Id of the category above' })),
    ...stamps,
  },
  filter: {
    id: numeric,
    name: textual,
    slug: textual,
    parent: tree,
    created_at: numeric,
    updated_at: numeric,
  },
  search: ['name', 'slug'],
  order: ['id', 'name', 'slug', 'parent', 'created_at', 'updated_at'],
  defaultOrder: 'id',
  unique: [['parent', 'name']],
  slug: { field: 'slug', from: 'name' },
})
