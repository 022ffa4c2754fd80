import { IssuedKey, issueKey } from '../../../src/keys.ts'
import { noStore } from '../../../src/query/responses.ts'
import { createSchema } from '../../../src/query/schemas.ts'
import { keys } from '../../../src/resources/keys.ts'
import { type App, actorOf, listRoute, urlOf } from '../../../src/routes.ts'

export default async function (app: App) {
  listRoute(app, keys)
  app.post(
    '/',
    { schema: createSchema(keys, { schema: IssuedKey, headers: noStore }), config: { access: keys.access.write } },
    async (request, reply) => {
      const { record, token } = await issueKey(app.db, request.body, actorOf(request))
      return reply
        .code(201)
        .headers({ location: `${urlOf(request, keys)}${record.id}/`, 'cache-control': 'no-store' })
        .send({ ...record, key: token })
    },
  )
}
