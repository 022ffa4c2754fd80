// The text of an API key: `stk_<id>_<secret>`. Only the SHA-256 of the secret is stored.
import { hash, randomBytes } from 'node:crypto'

/** Random bytes of a secret. 192 bits cannot be guessed, so the hash needs neither a salt nor a slow algorithm. */
const SECRET_BYTES = 24

/** Pattern of a secret. An operator's own secret (ADMIN_KEY) may be longer and have other letters than a generated one. */
export const SECRET = '[A-Za-z0-9]{40,128}'
const TOKEN = new RegExp(`^stk_([1-9]\\d{0,15})_(${SECRET})$`)

interface Token {
  id: number
  secret: string
}

export const generateSecret = (): string => randomBytes(SECRET_BYTES).toString('hex')

/** Parses a token; undefined if it does not have the form of an API key. */
export function parseToken(text: string): Token | undefined {
  const [, id, secret] = TOKEN.exec(text) ?? []
  return id === undefined || secret === undefined ? undefined : { id: Number(id), secret }
}

export const formatToken = ({ id, secret }: Token): string => `stk_${id}_${secret}`

export const sha256 = (text: string): string => hash('sha256', text)
