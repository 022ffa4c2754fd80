import type { App } from '../../../src/http/routes.ts'
import { resourceRoutes } from '../../../src/resource-routes.ts'
import { categories } from '../../../src/resources/categories.ts'

export default async function (app: App) {
  resourceRoutes(app, categories, { without: ['bulk'] })
}
