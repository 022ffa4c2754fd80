// Caches values that are computed once for each database and key.
import type { Database } from './database.ts'
import { memoize } from './memoize.ts'

/** Returns `compute` with a cache. An entry lasts as long as its database and its key. */
export function cachePerDatabase<K extends object, V>(compute: (db: Database, key: K) => V): (db: Database, key: K) => V {
  const forDatabase = memoize((db: Database) => memoize((key: K) => compute(db, key)))
  return (db, key) => forDatabase(db)(key)
}
