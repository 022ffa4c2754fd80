import { products } from '../../../src/resources/products.ts'
import { type App, createRoute, listRoute } from '../../../src/routes.ts'

export default async function (app: App) {
  listRoute(app, products)
  createRoute(app, products)
}
