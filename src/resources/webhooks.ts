import { Type } from '@sinclair/typebox'
import { boolean, id, json, nullable, stamps, text, time } from '../query/fields.ts'
import { numeric, textual } from '../query/lookups.ts'
import { defineResource } from '../query/resource.ts'

/** Characters of a type, and types of one webhook. */
const MAX_TYPE = 100
const MAX_TYPES = 50

export const webhooks = defineResource({
  table: 'webhooks',
  singular: 'webhook',
  access: { read: 'admin', write: 'admin' },
  contract: {
    id: id(),
    url: text({
      minLength: 1,
      maxLength: 2_048,
      ascii: true,
      description: 'URL that receives events, by POST',
      examples: ['https://example.com/hooks'],
    }),
    events: json<string[]>(
      Type.Array(Type.String({ maxLength: MAX_TYPE }), {
        minItems: 1,
        maxItems: MAX_TYPES,
        uniqueItems: true,
        description: 'Types of events: `products.created`, `products.updated`, `products.deleted`, `products.notified` …, or `*` for all',
        examples: [['products.created', 'products.updated']],
      }),
    ),
    filter: text({
      maxLength: 1_000,
      default: '',
      description: 'Filters and `search`, as in the query of a list. Only events of records that match are sent.',
      examples: ['price__gte=50'],
    }),
    description: text({ maxLength: 255, default: '', description: 'Owner or purpose' }),
    enabled: boolean({ default: true, description: 'Whether events are sent' }),
    disabled_reason: nullable(text({ maxLength: 1_000, readOnly: true, description: 'Reason why the service disabled the webhook' })),
    failing_since: nullable(time({ readOnly: true, description: 'Time of the first failed delivery since the last successful one' })),
    ...stamps,
  },
  filter: {
    id: numeric,
    enabled: ['exact'],
    url: textual.filter((lookup) => lookup === 'exact' || lookup === 'in'),
    failing_since: numeric,
    created_at: numeric,
    updated_at: numeric,
  },
  search: [],
  order: ['id', 'url', 'failing_since', 'created_at', 'updated_at'],
  defaultOrder: 'id',
})
