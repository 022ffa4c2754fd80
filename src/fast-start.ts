// Halves the time that a process takes to start. Import it before anything else.
import { enableCompileCache, registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'

// Compiled code is kept between starts. The folder belongs to the installation, because others can write to the system's temporary folder.
// If it is not writable, as in a read-only container, each start compiles the code again.
enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/compile', import.meta.url)))

// Node parses the package.json of drizzle-orm, 179 kB, once for each of its files. This hook resolves imports between those files
// without package.json.
registerHooks({
  resolve(specifier, context, nextResolve) {
    const isInside = specifier.startsWith('.') && specifier.endsWith('.js') && context.parentURL?.includes('/node_modules/drizzle-orm/')
    if (!isInside) return nextResolve(specifier, context)
    return { url: new URL(specifier, context.parentURL).href, format: 'module', shortCircuit: true }
  },
})
