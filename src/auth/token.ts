// How an API key is written: `stk_<id>_<secret>`. Of its secret only the SHA-256 is kept.
import { hash, randomBytes } from 'node:crypto'

/** What has 192 random bits cannot be guessed, and so needs neither salt nor a slow hash. */
const SECRET_BYTES = 24

/** One that an operator made (ADMIN_KEY) may have other characters, and more of them. */
export const SECRET = '[A-Za-z0-9]{40,128}'
const TOKEN = new RegExp(`^stk_([1-9]\\d{0,15})_(${SECRET})$`)

export interface Token {
  id: number
  secret: string
}

export const generateSecret = (): string => randomBytes(SECRET_BYTES).toString('hex')

/** Undefined for what is no key. */
export function parseToken(text: string): Token | undefined {
  const [, id, secret] = TOKEN.exec(text) ?? []
  return id === undefined || secret === undefined ? undefined : { id: Number(id), secret }
}

export const formatToken = ({ id, secret }: Token): string => `stk_${id}_${secret}`

export const sha256 = (text: string): string => hash('sha256', text)
