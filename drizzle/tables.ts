// Defines every table once, as a function of a column kit. drizzle-kit writes the migrations of both databases from it.
import { sql } from 'drizzle-orm'
import type { AnySQLiteColumn } from 'drizzle-orm/sqlite-core'
import { defineBackgroundTables } from './background.ts'
import { defineStamps, type Kit, type ServedTable } from './served.ts'

export function defineTables(kit: Kit) {
  const categories = kit.table(
    'categories',
    {
      id: kit.id(),
      name: kit.text().notNull(),
      slug: kit.text().notNull(),
      parent: kit.reference((): AnySQLiteColumn => categories.id),
      ...defineStamps(kit),
    },
    (t) => [
      kit.uniqueIndex('categories_slug', t.slug),
      kit.uniqueIndex('categories_parent_name', t.parent, t.name),
      // A unique index takes NULLs for different, so roots need an index of their own.
      kit.uniqueIndex('categories_root_name', t.name).where(sql`parent is null`),
      kit.index('categories_by_name', t.name, t.id),
      kit.index('categories_by_parent', t.parent, t.id),
      kit.index('categories_by_created_at', t.created_at, t.id),
      kit.index('categories_by_updated_at', t.updated_at, t.id),
    ],
  )
  const products = kit.table(
    'products',
    {
      id: kit.id(),
      sku: kit.text(),
      name: kit.text().notNull(),
      description: kit.text().notNull().default(''),
      price: kit.decimal(2).notNull(),
      stock: kit.integer().notNull().default(0),
      brand: kit.text().notNull().default(''),
      category: kit.reference(() => categories.id),
      ...defineStamps(kit),
    },
    (t) => [
      kit.uniqueIndex('products_sku', t.sku),
      kit.index('products_by_sku', t.sku, t.id),
      kit.index('products_by_name', t.name, t.id),
      kit.index('products_by_price', t.price, t.id),
      kit.index('products_by_stock', t.stock, t.id),
      kit.index('products_by_brand', t.brand, t.id),
      kit.index('products_by_category', t.category, t.id),
      kit.index('products_by_created_at', t.created_at, t.id),
      kit.index('products_by_updated_at', t.updated_at, t.id),
    ],
  )
  const keys = kit.table(
    'keys',
    {
      id: kit.id(),
      name: kit.text().notNull(),
      role: kit.text().notNull(),
      last_used_at: kit.time(),
      expires_at: kit.time(),
      revoked_at: kit.time(),
      ...defineStamps(kit),
    },
    (t) => [
      kit.index('keys_by_name', t.name, t.id),
      kit.index('keys_by_role', t.role, t.id),
      kit.index('keys_by_last_used_at', t.last_used_at, t.id),
      kit.index('keys_by_expires_at', t.expires_at, t.id),
      kit.index('keys_by_revoked_at', t.revoked_at, t.id),
      kit.index('keys_by_created_at', t.created_at, t.id),
      kit.index('keys_by_updated_at', t.updated_at, t.id),
    ],
  )
  // A table of its own, so that no list, log or export of keys shows secrets.
  const key_secrets = kit.table(
    'key_secrets',
    {
      key: kit.reference(() => keys.id).notNull(),
      // In hexadecimal.
      sha256: kit.text().notNull(),
    },
    (t) => [kit.uniqueIndex('key_secrets_key', t.key)],
  )
  // The change log. `key_id` is no foreign key: entries outlive their key.
  const changes = kit.table(
    'changes',
    {
      id: kit.id(),
      ...kit.transactionId(),
      resource: kit.text().notNull(),
      record_id: kit.integer().notNull(),
      operation: kit.text().notNull(),
      version: kit.integer().notNull(),
      key_id: kit.integer(),
      request_id: kit.text(),
      at: kit.time().notNull(),
      fields: kit.text().notNull(),
      reason: kit.text(),
      // The record after the change; for a deletion, before it.
      state: kit.text(),
    },
    (t) => [kit.index('changes_by_record', t.resource, t.record_id, t.id), ...kit.logIndexes('changes', t)],
  )
  // The last entry of the change log that each consumer has read.
  const consumer_offsets = kit.table('consumer_offsets', { name: kit.text().primaryKey(), change: kit.integer().notNull() })
  // Responses to POST requests, for clients that repeat a request because its response was lost.
  const idempotency_keys = kit.table(
    'idempotency_keys',
    {
      id: kit.id(),
      // Id of an API key. It is no foreign key: a response outlives its key.
      caller: kit.integer().notNull(),
      key: kit.text().notNull(),
      fingerprint: kit.text().notNull(),
      status: kit.integer().notNull(),
      headers: kit.text().notNull(),
      body: kit.text().notNull(),
      at: kit.time().notNull(),
    },
    (t) => [kit.uniqueIndex('idempotency_keys_caller_key', t.caller, t.key)],
  )
  return { categories, products, keys, key_secrets, changes, consumer_offsets, idempotency_keys, ...defineBackgroundTables(kit) }
}

/** An interface, so that an application built on this one can add its own tables to it. */
export interface Tables extends ReturnType<typeof defineTables> {}

/** Names of the tables that can be served as resources. */
export type ServedName = { [T in keyof Tables]: Tables[T] extends ServedTable ? T : never }[keyof Tables]
