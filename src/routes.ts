// The operations of a resource as routes. A file under routes/ says which of them its URL has.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RawServerDefault } from 'fastify'
import { list, read } from './query/list.ts'
import { envelope } from './query/page.ts'
import type { Resource } from './query/resource.ts'
import { createSchema, listSchema, mergeSchema, readSchema, removeSchema, replaceSchema } from './query/schemas.ts'
import { create, merge, remove, replace } from './records.ts'

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>

/** The absolute URL of a resource's list: PUBLIC_URL's, or where the client found it. */
function urlOf(request: FastifyRequest, { table }: Resource): string {
  const origin = request.server.config.PUBLIC_URL || (request.host && `${request.protocol}://${request.host}`)
  return `${origin}/api/${table}/`
}

export function listRoute(app: App, resource: Resource): void {
  app.get('/', { schema: listSchema(resource) }, async (request, reply) => {
    const page = await list(app.db, resource, request.query, { countLimit: app.config.COUNT_LIMIT })
    const { body, headers } = envelope(urlOf(request, resource), page)
    return reply.headers(headers).send(body)
  })
}

export function createRoute(app: App, resource: Resource): void {
  app.post('/', { schema: createSchema(resource) }, async (request, reply) => {
    const record = await create(app.db, resource, request.body)
    return reply
      .code(201)
      .header('location', `${urlOf(request, resource)}${record.id}/`)
      .send(record)
  })
}

export function readRoute(app: App, resource: Resource): void {
  app.get('/', { schema: readSchema(resource) }, (request) => read(app.db, resource, request.params.id))
}

export function replaceRoute(app: App, resource: Resource): void {
  app.put('/', { schema: replaceSchema(resource) }, (request) => replace(app.db, resource, request.params.id, request.body))
}

export function mergeRoute(app: App, resource: Resource): void {
  app.patch('/', { schema: mergeSchema(resource) }, (request) => merge(app.db, resource, request.params.id, request.body))
}

export function removeRoute(app: App, resource: Resource): void {
  app.delete('/', { schema: removeSchema(resource, app.resources) }, async (request, reply) => {
    await remove(app.db, resource, request.params.id, app.resources)
    return reply.code(204).send()
  })
}
