// Who may call what.

/** Each role may do what those before it may. */
export const ROLES = ['read', 'write', 'admin'] as const
export type Role = (typeof ROLES)[number]

/**
 * What a route asks of its caller: a key with at least this role; `anyone` needs none, and `unchecked` is not even counted against a
 * limit. `read` needs no key unless REQUIRE_KEY_TO_READ is set, `key` any key in any case.
 */
export type Access = 'unchecked' | 'anyone' | 'key' | Role

export const hasRole = (role: Role, needed: Role): boolean => ROLES.indexOf(role) >= ROLES.indexOf(needed)
