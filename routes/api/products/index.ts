import type { App } from '../../../src/http/routes.ts'
import { resourceRoutes } from '../../../src/resource-routes.ts'
import { products } from '../../../src/resources/products.ts'

export default async function (app: App) {
  resourceRoutes(app, products)
}
