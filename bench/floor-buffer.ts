// A child process: plain Fastify that sends a fixed Buffer, the least that it can do.
import Fastify from 'fastify'
import { readInput } from './child.ts'
import { serve } from './serve.ts'

const body = Buffer.from(readInput<{ body: string }>().body)
const app = Fastify({ logger: { level: 'silent' } })
app.get('/api/products/', (_request, reply) => reply.type('application/json; charset=utf-8').send(body))
await serve(app)
