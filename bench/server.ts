// A child process: Stockroom as it is.
import { buildApp } from '../src/app.ts'
import { loadConfig } from '../src/config.ts'
import { inputOf } from './child.ts'
import { serve } from './serve.ts'

const { url } = inputOf<{ url: string }>()
await serve(await buildApp({ config: loadConfig({ LOG_LEVEL: 'silent', DATABASE_URL: url }) }))
