import { findKeyFaults, IssuedKey, issueWithin } from '../../../src/auth/keys.ts'
import { type App, addListRoute, buildCreatedResponse, type FindFaults, handlePost, readActor } from '../../../src/http/routes.ts'
import { describeCreate } from '../../../src/openapi/operations.ts'
import type { Body } from '../../../src/query/resource.ts'
import { keys } from '../../../src/resources/keys.ts'

const findFaults: FindFaults = async ({ body }, faulty) => (faulty.has('expires_at') ? [] : findKeyFaults(body as Body))

export default async function (app: App) {
  addListRoute(app, keys)
  app.post(
    '/',
    { schema: describeCreate(keys, { schema: IssuedKey }), config: { access: keys.access.write, findFaults } },
    (request, reply) =>
      handlePost(request, reply, async (tx) => {
        const { record, token } = await issueWithin(tx, app.db, request.body, readActor(request))
        const answer = buildCreatedResponse(request, keys, record)
        return { ...answer, body: { ...answer.body, key: token }, secret: ['key'] }
      }),
  )
}
