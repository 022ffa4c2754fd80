import { resourceRoutes } from '../../../src/http/resource-routes.ts'
import type { App } from '../../../src/http/routes.ts'
import { products } from '../../../src/resources/products.ts'

export default async function (app: App) {
  resourceRoutes(app, products)
}
