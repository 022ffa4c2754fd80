import { resourceRoutes } from '../../../src/resource-routes.ts'
import { products } from '../../../src/resources/products.ts'
import type { App } from '../../../src/routes.ts'

export default async function (app: App) {
  resourceRoutes(app, products)
}
