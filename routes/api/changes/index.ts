import { feedRoute } from '../../../src/feed/routes.ts'
import type { App } from '../../../src/routes.ts'

export default async function (app: App) {
  feedRoute(app)
}
