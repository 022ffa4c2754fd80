import { choice, id, nullable, stamps, text, time } from '../query/fields.ts'
import { numeric, textual } from '../query/lookups.ts'
import { defineResource } from '../query/resource.ts'
import { ROLES } from '../roles.ts'

export const keys = defineResource({
  table: 'keys',
  singular: 'key',
  access: { read: 'admin', write: 'admin' },
  contract: {
    id: id(),
    name: text({ minLength: 1, maxLength: 255, description: 'Owner or purpose', examples: ['Warehouse sync'] }),
    role: choice(ROLES, { description: '`write` may read too, `admin` may do everything', examples: ['write'] }),
    last_used_at: nullable(time({ readOnly: true, description: 'When it was last used, to within five minutes' })),
    expires_at: nullable(time({ description: 'Time from which the key is refused', examples: ['2030-01-01T00:00:00Z'] })),
    revoked_at: nullable(time({ readOnly: true, description: 'When it was revoked' })),
    ...stamps,
  },
  filter: {
    id: numeric,
    name: textual,
    role: ['exact', 'in'],
    last_used_at: numeric,
    expires_at: numeric,
    revoked_at: numeric,
    created_at: numeric,
    updated_at: numeric,
  },
  search: ['name'],
  order: ['id', 'name', 'role', 'last_used_at', 'expires_at', 'revoked_at', 'created_at', 'updated_at'],
  defaultOrder: 'id',
})
