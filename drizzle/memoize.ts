// Remembers the result of a function for each object.

/** Returns `compute` with a cache of its results, which are released together with their keys. A result must not be undefined. */
export function memoize<K extends object, V>(compute: (key: K) => V): (key: K) => V {
  const results = new WeakMap<K, V>()
  return (key) => {
    let result = results.get(key)
    if (result === undefined) {
      result = compute(key)
      results.set(key, result)
    }
    return result
  }
}
