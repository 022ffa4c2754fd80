import { findKeyFaults, IssuedKey, issueWithin } from '../../../src/keys.ts'
import type { Body } from '../../../src/query/resource.ts'
import { createSchema } from '../../../src/query/schemas.ts'
import { keys } from '../../../src/resources/keys.ts'
import { type App, actorOf, type FindFaults, listRoute, madeAnswer, post } from '../../../src/routes.ts'

const findFaults: FindFaults = async ({ body }, faulty) => (faulty.has('expires_at') ? [] : findKeyFaults(body as Body))

export default async function (app: App) {
  listRoute(app, keys)
  app.post(
    '/',
    { schema: createSchema(keys, { schema: IssuedKey }), config: { access: keys.access.write, findFaults } },
    (request, reply) =>
      post(request, reply, async (tx) => {
        const { record, token } = await issueWithin(tx, app.db, request.body, actorOf(request))
        const answer = madeAnswer(request, keys, record)
        return { ...answer, body: { ...answer.body, key: token }, secret: ['key'] }
      }),
  )
}
