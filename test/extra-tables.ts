// Tables beyond those of the product, for tests with other resources.
import { sql } from 'drizzle-orm'
import { open } from '../drizzle/open.ts'
import { defineStamps, type Kit } from '../drizzle/served.ts'
import { defineTables } from '../drizzle/tables.ts'
import { ddl } from './ddl.ts'
import type { Dialect } from './dialects.ts'

export const tables = (kit: Kit) => {
  const productTables = defineTables(kit)
  const widgets = kit.table(
    'widgets',
    {
      id: kit.id(),
      label: kit.text().notNull(),
      // A column named after a word of SQL.
      group: kit.text(),
      weight: kit.decimal(3).notNull(),
      shelf: kit.integer(),
      fragile: kit.boolean().notNull().default(false),
      due: kit.time(),
      category: kit.reference(() => productTables.categories.id),
      created_at: kit.time().notNull(),
      updated_at: kit.time().notNull(),
      version: kit.integer().notNull().default(1),
    },
    (t) => [
      kit.uniqueIndex('widgets_shelf_label', t.shelf, t.label),
      kit.uniqueIndex('widgets_label_without_shelf', t.label).where(sql`shelf is null`),
      kit.index('widgets_by_label', t.label, t.id),
      kit.index('widgets_by_group', t.group, t.id),
      kit.index('widgets_by_weight', t.weight, t.id),
      kit.index('widgets_by_shelf', t.shelf, t.id),
      kit.index('widgets_by_fragile', t.fragile, t.id),
      kit.index('widgets_by_due', t.due, t.id),
      kit.index('widgets_by_category', t.category, t.id),
      kit.index('widgets_by_created_at', t.created_at, t.id),
      kit.index('widgets_by_updated_at', t.updated_at, t.id),
    ],
  )
  const articles = kit.table(
    'articles',
    {
      id: kit.id(),
      sku: kit.text().notNull(),
      name: kit.text().notNull(),
      price: kit.decimal(2).notNull(),
      ean: kit.text(),
      rating: kit.integer(),
      shelf: kit.reference(() => productTables.categories.id),
      category: kit.reference(() => productTables.categories.id),
      ...defineStamps(kit),
    },
    (t) => [kit.uniqueIndex('articles_sku', t.sku), kit.uniqueIndex('articles_ean', t.ean)],
  )
  return { ...productTables, widgets, articles }
}

declare module '../drizzle/tables.ts' {
  interface Tables {
    widgets: ReturnType<typeof tables>['widgets']
    articles: ReturnType<typeof tables>['articles']
  }
}

/** Migrates the database and creates the extra tables. */
export async function createExtraTables(dialect: Dialect, url: string): Promise<void> {
  const migrated = await open(url, { served: [] })
  await migrated.migrate()
  await migrated.close()
  const db = await open(url, { served: [], tables })
  const { widgets, articles } = db.tables
  const statements = await ddl(dialect.name, { widgets, articles })
  await db.write(async (tx) => {
    for (const statement of statements) await tx.run(sql.raw(statement))
  })
  await db.close()
}
