import { historyRoute } from '../../../../../src/feed/history.ts'
import { categories } from '../../../../../src/resources/categories.ts'
import type { App } from '../../../../../src/routes.ts'

export default async function (app: App) {
  historyRoute(app, categories)
}
