// Loaded by `--import` into the processes of the tests. Node parses the package.json of drizzle-orm, 179 kB, once for each of its files:
// half of the time that a process takes to start. Files of that package that name each other are found without it.
import { registerHooks } from 'node:module'

registerHooks({
  resolve(specifier, context, nextResolve) {
    const isInside = specifier.startsWith('.') && specifier.endsWith('.js') && context.parentURL?.includes('/node_modules/drizzle-orm/')
    if (!isInside) return nextResolve(specifier, context)
    return { url: new URL(specifier, context.parentURL).href, format: 'module', shortCircuit: true }
  },
})
