import { IssuedKey, rotateWithin } from '../../../../../src/auth/keys.ts'
import { type App, buildStateHeaders, handlePost, preconditionFor, readActor } from '../../../../../src/http/routes.ts'
import { describeAction } from '../../../../../src/openapi/operations.ts'
import { keys } from '../../../../../src/resources/keys.ts'

const schema = describeAction(
  keys,
  {
    name: 'rotate',
    summary: 'Replace the secret of a key',
    description: 'The old secret becomes invalid at once, on other instances within a second.',
  },
  { description: 'The key with its new secret', schema: IssuedKey },
  ['key-revoked'],
)

export default async function (app: App) {
  app.post('/', { schema, config: { access: keys.access.write } }, (request, reply) => {
    const { id } = request.params
    return handlePost(
      request,
      reply,
      async (tx) => {
        const { record, token } = await rotateWithin(tx, app.db, id, readActor(request), preconditionFor(request))
        return { status: 200, headers: buildStateHeaders(record), body: { ...record, key: token }, secret: ['key'] }
      },
      () => app.keyring.forget(id),
    )
  })
}
