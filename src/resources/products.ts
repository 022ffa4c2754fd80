import { decimal, id, integer, nullable, reference, stamps, text } from '../query/fields.ts'
import { numeric, textual, tree } from '../query/lookups.ts'
import { defineResource } from '../query/resource.ts'

/** The largest number that a 32-bit integer holds. */
export const MAX_STOCK = 2_147_483_647

export const products = defineResource({
  table: 'products',
  singular: 'product',
  contract: {
    id: id(),
    sku: nullable(text({ minLength: 1, maxLength: 64, description: 'Stock keeping unit. Unique', examples: ['TSHIRT-RED-M'] })),
    name: text({ minLength: 1, maxLength: 255, examples: ['Red shirt'] }),
    description: text({ maxLength: 10_000, multiline: true, default: '' }),
    price: decimal({ precision: 10, scale: 2, examples: ['29.90'] }),
    stock: integer({ minimum: 0, maximum: MAX_STOCK, default: 0, examples: [12] }),
    brand: text({ maxLength: 255, default: '', examples: ['Acme'] }),
    category: nullable(reference('categories', { description: 'Id of the category' })),
    ...stamps,
  },
  filter: {
    id: numeric,
    sku: textual,
    name: textual,
    description: ['icontains'],
    price: numeric,
    stock: numeric,
    brand: textual,
    category: tree,
    created_at: numeric,
    updated_at: numeric,
  },
  search: ['sku', 'name', 'description', 'brand'],
  order: ['id', 'sku', 'name', 'price', 'stock', 'brand', 'category', 'created_at', 'updated_at'],
  defaultOrder: 'id',
  unique: [['sku']],
})
