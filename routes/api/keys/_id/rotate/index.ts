import { IssuedKey, rotateKey } from '../../../../../src/keys.ts'
import { noStore } from '../../../../../src/query/responses.ts'
import { actionSchema } from '../../../../../src/query/schemas.ts'
import { keys } from '../../../../../src/resources/keys.ts'
import { type App, actorOf } from '../../../../../src/routes.ts'

const schema = actionSchema(
  keys,
  {
    name: 'rotate',
    summary: 'Give a key another secret',
    description: 'The old one is refused from now on, by other instances within a second.',
  },
  { description: 'The key with its new secret', schema: IssuedKey, headers: noStore },
  ['key-revoked'],
)

export default async function (app: App) {
  app.post('/', { schema, config: { access: keys.access.write } }, async (request, reply) => {
    const { record, token } = await rotateKey(app.db, request.params.id, actorOf(request))
    app.keyring.forget(record.id)
    return reply.header('cache-control', 'no-store').send({ ...record, key: token })
  })
}
