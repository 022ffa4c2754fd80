import { products } from '../../../../src/resources/products.ts'
import { type App, bulkRoute } from '../../../../src/routes.ts'

export default async function (app: App) {
  bulkRoute(app, products)
}
