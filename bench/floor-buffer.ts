// A child process: the least that Fastify can do, which is to answer bytes that are there already.
import Fastify from 'fastify'
import { inputOf } from './child.ts'
import { serve } from './serve.ts'

const body = Buffer.from(inputOf<{ body: string }>().body)
const app = Fastify({ logger: { level: 'silent' } })
app.get('/api/products/', (_request, reply) => reply.type('application/json; charset=utf-8').send(body))
await serve(app)
