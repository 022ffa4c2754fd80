// The admin key of the servers that are measured: writing needs one.
export const KEY = `stk_1_${'b'.repeat(48)}`
export const withKey = { authorization: `Bearer ${KEY}` }
