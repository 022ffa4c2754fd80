import { addFeedRoute } from '../../../src/feed/routes.ts'
import type { App } from '../../../src/http/routes.ts'

export default async function (app: App) {
  addFeedRoute(app)
}
