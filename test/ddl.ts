// Generates the SQL that drizzle-kit would write into a migration of new tables.
import { generateDrizzleJson, generateMigration, generateSQLiteDrizzleJson, generateSQLiteMigration } from 'drizzle-kit/api'

type Generate = (tables: Record<string, unknown>) => Promise<string[]>

const generators: Record<string, Generate> = {
  sqlite: async (tables) => generateSQLiteMigration(await generateSQLiteDrizzleJson({}), await generateSQLiteDrizzleJson(tables)),
  pg: async (tables) => generateMigration(generateDrizzleJson({}), generateDrizzleJson(tables)),
}

/** Returns the statements that create `tables` on the database `name` (`sqlite` or `pg`). */
export const ddl = async (name: string, tables: Record<string, unknown>): Promise<string[]> => (await generators[name]?.(tables)) ?? []
