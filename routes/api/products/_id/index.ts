import { products } from '../../../../src/resources/products.ts'
import { type App, mergeRoute, readRoute, removeRoute, replaceRoute } from '../../../../src/routes.ts'

export default async function (app: App) {
  readRoute(app, products)
  replaceRoute(app, products)
  mergeRoute(app, products)
  removeRoute(app, products)
}
