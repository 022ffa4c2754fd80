import { resourceRoutes } from '../../../src/resource-routes.ts'
import { deliveries } from '../../../src/resources/deliveries.ts'
import type { App } from '../../../src/routes.ts'

export default async function (app: App) {
  resourceRoutes(app, deliveries, { only: ['list', 'read'] })
}
