import { resourceRoutes } from '../../../src/resource-routes.ts'
import { categories } from '../../../src/resources/categories.ts'
import type { App } from '../../../src/routes.ts'

export default async function (app: App) {
  resourceRoutes(app, categories, { without: ['bulk'] })
}
