#!/usr/bin/env node
// Entry point of the command line.
import './fast-start.ts'

const { main } = await import('./command-line.ts')
process.exitCode = await main(process.argv.slice(2), process)
