import { categories } from '../../../../src/resources/categories.ts'
import { type App, mergeRoute, readRoute, removeRoute, replaceRoute } from '../../../../src/routes.ts'

export default async function (app: App) {
  readRoute(app, categories)
  replaceRoute(app, categories)
  mergeRoute(app, categories)
  removeRoute(app, categories)
}
