// Adds the routes of a resource. Called by the route file of the resource.
import { bulkRoute } from './bulk/route.ts'
import { addHistoryRoute, addRestoreRoute } from './feed/history.ts'
import { type App, addCreateRoute, addListRoute, addMergeRoute, addReadRoute, addRemoveRoute, addReplaceRoute } from './http/routes.ts'
import type { Resource } from './query/resource.ts'

interface Operation {
  /** Path below the URL of the resource. */
  path: string
  add(app: App, resource: Resource): void
}

const OPERATIONS = {
  list: { path: '', add: addListRoute },
  create: { path: '', add: addCreateRoute },
  bulk: { path: '/bulk', add: bulkRoute },
  read: { path: '/:id', add: addReadRoute },
  replace: { path: '/:id', add: addReplaceRoute },
  merge: { path: '/:id', add: addMergeRoute },
  remove: { path: '/:id', add: addRemoveRoute },
  history: { path: '/:id/history', add: addHistoryRoute },
  restore: { path: '/:id/restore', add: addRestoreRoute },
} as const satisfies Record<string, Operation>

type OperationName = keyof typeof OPERATIONS

const ALL = Object.keys(OPERATIONS) as OperationName[]

interface ResourceRoutes {
  /** The operations to add. The default is all of them. */
  only?: readonly OperationName[]
  /** Operations to leave out. */
  without?: readonly OperationName[]
}

/**
 * Adds the operations of a resource to the URLs below `/api/<table>/`. Throws a TypeError in a route file of another folder: links and
 * `Location` headers would lead elsewhere.
 *
 * @example resourceRoutes(app, suppliers, { without: ['bulk'] })
 */
export function resourceRoutes(app: App, resource: Resource, { only = ALL, without = [] }: ResourceRoutes = {}): void {
  const prefix = `/api/${resource.table}`
  if (app.prefix !== prefix)
    throw new TypeError(`the routes of ${resource.table} are added at ${app.prefix || '/'}: move the file to routes${prefix}/index.ts`)
  for (const name of only) {
    if (without.includes(name)) continue
    const { path, add }: Operation = OPERATIONS[name]
    app.register(async (scope) => add(scope, resource), { prefix: path })
  }
}
