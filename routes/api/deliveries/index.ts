import { deliveries } from '../../../src/resources/deliveries.ts'
import { type App, listRoute } from '../../../src/routes.ts'

export default async function (app: App) {
  listRoute(app, deliveries)
}
