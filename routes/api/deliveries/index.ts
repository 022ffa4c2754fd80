import type { App } from '../../../src/http/routes.ts'
import { resourceRoutes } from '../../../src/resource-routes.ts'
import { deliveries } from '../../../src/resources/deliveries.ts'

export default async function (app: App) {
  resourceRoutes(app, deliveries, { only: ['list', 'read'] })
}
