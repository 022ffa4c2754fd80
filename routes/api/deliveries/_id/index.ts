import { deliveries } from '../../../../src/resources/deliveries.ts'
import { type App, readRoute } from '../../../../src/routes.ts'

export default async function (app: App) {
  readRoute(app, deliveries)
}
