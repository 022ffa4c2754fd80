import { bulkRoute } from '../../../../src/bulk/route.ts'
import { products } from '../../../../src/resources/products.ts'
import type { App } from '../../../../src/routes.ts'

export default async function (app: App) {
  bulkRoute(app, products)
}
