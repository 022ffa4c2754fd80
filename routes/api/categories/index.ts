import { categories } from '../../../src/resources/categories.ts'
import { type App, createRoute, listRoute } from '../../../src/routes.ts'

export default async function (app: App) {
  listRoute(app, categories)
  createRoute(app, categories)
}
