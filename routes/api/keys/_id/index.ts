import { changeUnlessLastAdmin, revokeWithin } from '../../../../src/auth/keys.ts'
import { type App, addReadRoute, buildStateHeaders, preconditionFor, readActor } from '../../../../src/http/routes.ts'
import { describeMerge, describeRemove } from '../../../../src/openapi/operations.ts'
import { mergeRecord } from '../../../../src/records/write.ts'
import { keys } from '../../../../src/resources/keys.ts'

const config = { access: keys.access.write }

const LAST = ['last-admin-key'] as const

export default async function (app: App) {
  addReadRoute(app, keys)
  app.patch('/', { schema: describeMerge(keys, LAST), config }, async (request, reply) => {
    const { id } = request.params
    const record = await changeUnlessLastAdmin(app.db, id, (context) =>
      mergeRecord(context, id, request.body, readActor(request), preconditionFor(request)),
    )
    app.keyring.forget(record.id)
    return reply.headers(buildStateHeaders(record)).send(record)
  })
  app.delete(
    '/',
    { schema: { ...describeRemove(keys, [], LAST), summary: 'Revoke a key', description }, config },
    async (request, reply) => {
      const { id } = request.params
      await changeUnlessLastAdmin(app.db, id, (context) => revokeWithin(context, id, readActor(request), preconditionFor(request)))
      app.keyring.forget(id)
      return reply.code(204).send()
    },
  )
}

const description =
  'The key becomes invalid at once, on other instances within a second. Its record stays, so that the change log can refer to it. The last valid admin key cannot be revoked (409).'
