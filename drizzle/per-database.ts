// What is computed once for a database and something that is used with it.
import type { Database } from './database.ts'

/** Returns `make` with a memory, which lasts as long as the database and the key do. */
export function cachePerDatabase<K extends object, V>(make: (db: Database, key: K) => V): (db: Database, key: K) => V {
  const made = new WeakMap<Database, WeakMap<K, V>>()
  return (db, key) => {
    let ofDatabase = made.get(db)
    if (!ofDatabase) {
      ofDatabase = new WeakMap()
      made.set(db, ofDatabase)
    }
    let value = ofDatabase.get(key)
    if (value === undefined) {
      value = make(db, key)
      ofDatabase.set(key, value)
    }
    return value
  }
}
