// The operations of a resource as routes. A file under routes/ says which of them its URL has.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RawServerDefault } from 'fastify'
import type { Actor } from './changes.ts'
import { list, read } from './query/list.ts'
import { envelope } from './query/page.ts'
import type { Resource } from './query/resource.ts'
import { createSchema, listSchema, mergeSchema, readSchema, removeSchema, replaceSchema } from './query/schemas.ts'
import { create, merge, remove, replace } from './records.ts'

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>

/** The absolute URL of a resource's list: PUBLIC_URL's, or where the client found it. */
export function urlOf(request: FastifyRequest, { table }: Resource): string {
  const origin = request.server.config.PUBLIC_URL || (request.host && `${request.protocol}://${request.host}`)
  return `${origin}/api/${table}/`
}

/** Who writes. */
export const actorOf = ({ key, id }: FastifyRequest): Actor => ({ key: key?.id ?? null, request: id })

export function listRoute(app: App, resource: Resource): void {
  app.get('/', { schema: listSchema(resource), config: { access: resource.access.read } }, async (request, reply) => {
    const page = await list(app.db, resource, request.query, { countLimit: app.config.COUNT_LIMIT })
    const { body, headers } = envelope(urlOf(request, resource), page)
    return reply.headers(headers).send(body)
  })
}

export function createRoute(app: App, resource: Resource): void {
  app.post('/', { schema: createSchema(resource), config: { access: resource.access.write } }, async (request, reply) => {
    const record = await create(app.db, resource, request.body, actorOf(request))
    return reply
      .code(201)
      .header('location', `${urlOf(request, resource)}${record.id}/`)
      .send(record)
  })
}

export function readRoute(app: App, resource: Resource): void {
  app.get('/', { schema: readSchema(resource), config: { access: resource.access.read } }, (request) =>
    read(app.db, resource, request.params.id),
  )
}

export function replaceRoute(app: App, resource: Resource): void {
  app.put('/', { schema: replaceSchema(resource), config: { access: resource.access.write } }, (request) =>
    replace(app.db, resource, request.params.id, request.body, actorOf(request)),
  )
}

export function mergeRoute(app: App, resource: Resource): void {
  app.patch('/', { schema: mergeSchema(resource), config: { access: resource.access.write } }, (request) =>
    merge(app.db, resource, request.params.id, request.body, actorOf(request)),
  )
}

export function removeRoute(app: App, resource: Resource): void {
  app.delete('/', { schema: removeSchema(resource, app.resources), config: { access: resource.access.write } }, async (request, reply) => {
    await remove(app.db, resource, request.params.id, app.resources, actorOf(request))
    return reply.code(204).send()
  })
}
