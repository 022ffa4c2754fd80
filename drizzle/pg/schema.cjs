// The tables as drizzle-kit reads them for PostgreSQL. It takes what a module exports, and a CommonJS module can export them without a list of names.
const kit = require('./kit.ts')
const { defineTables } = require('../tables.ts')

module.exports = defineTables(kit)
