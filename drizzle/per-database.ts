// Caches values that are computed once for each database and key.
import type { Database } from './database.ts'

/** Returns `compute` with a cache. An entry lasts as long as its database and its key. */
export function cachePerDatabase<K extends object, V>(compute: (db: Database, key: K) => V): (db: Database, key: K) => V {
  const caches = new WeakMap<Database, WeakMap<K, V>>()
  return (db, key) => {
    let cache = caches.get(db)
    if (!cache) {
      cache = new WeakMap()
      caches.set(db, cache)
    }
    let value = cache.get(key)
    if (value === undefined) {
      value = compute(db, key)
      cache.set(key, value)
    }
    return value
  }
}
