import { revokeKey } from '../../../../src/keys.ts'
import { mergeSchema, removeSchema } from '../../../../src/query/schemas.ts'
import { merge } from '../../../../src/records.ts'
import { keys } from '../../../../src/resources/keys.ts'
import { type App, actorOf, expectedOf, readRoute, stateHeaders } from '../../../../src/routes.ts'

const config = { access: keys.access.write }

export default async function (app: App) {
  readRoute(app, keys)
  app.patch('/', { schema: mergeSchema(keys), config }, async (request, reply) => {
    const record = await merge(app.db, keys, request.params.id, request.body, actorOf(request), expectedOf(request))
    app.keyring.forget(record.id)
    return reply.headers(stateHeaders(record)).send(record)
  })
  app.delete('/', { schema: { ...removeSchema(keys, []), summary: 'Revoke a key', description }, config }, async (request, reply) => {
    await revokeKey(app.db, request.params.id, actorOf(request), expectedOf(request))
    app.keyring.forget(request.params.id)
    return reply.code(204).send()
  })
}

const description =
  'It is refused from now on, by other instances within a second. The record stays, so that what was done with it can be told.'
