import { restoreRoute } from '../../../../../src/feed/history.ts'
import { products } from '../../../../../src/resources/products.ts'
import type { App } from '../../../../../src/routes.ts'

export default async function (app: App) {
  restoreRoute(app, products)
}
