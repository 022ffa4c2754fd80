// Roles of API keys, and the access that routes require.

/** Roles in ascending order. Each role includes all earlier ones. */
export const ROLES = ['read', 'write', 'admin'] as const
export type Role = (typeof ROLES)[number]

/**
 * Access that a route requires: a key with at least this role, or `key` for a key of any role. `read` requires a key only with
 * REQUIRE_KEY_TO_READ. `anyone` requires no key. `unchecked` requires no key and is not rate-limited.
 */
export type Access = 'unchecked' | 'anyone' | 'key' | Role

/** Whether `role` includes the `required` one. */
export const hasRole = (role: Role, required: Role): boolean => ROLES.indexOf(role) >= ROLES.indexOf(required)
