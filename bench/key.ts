// The admin key of the measured servers, which writes need.
export const KEY = `stk_1_${'b'.repeat(48)}`
export const withKey = { authorization: `Bearer ${KEY}` }
