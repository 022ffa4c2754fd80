// Addresses that webhooks may lead to. Every connection resolves its host anew and uses only the addresses that were checked.
import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns'
import { promisify } from 'node:util'
import ipaddr from 'ipaddr.js'
import type { Fault } from '../errors.ts'

/** Addresses that the operator allows besides public ones over https. */
export interface AddressPolicy {
  allowHttp: boolean
  allowPrivate: boolean
  /** Resolves host names; the system's resolver by default. */
  resolve?: typeof dnsLookup | undefined
}

class AddressRefused extends Error {}

/** The allocated part of IPv6, 2000::/3. ipaddr.js reports special ranges inside it, such as 6to4, under their own names. */
const GLOBAL_BITS = 0xe000
const GLOBAL = 0x2000

/** Returns false for loopback, private, link-local, metadata, multicast, translated and reserved addresses. Throws if the text is no address. */
export function isPublic(address: string): boolean {
  const parsed = ipaddr.process(address)
  if (parsed.range() !== 'unicast') return false
  return !('parts' in parsed) || ((parsed.parts[0] ?? 0) & GLOBAL_BITS) === GLOBAL
}

const stripBrackets = (hostname: string) => hostname.replace(/^\[(.*)\]$/, '$1')

/**
 * Finds the faults of a webhook's URL, and resolves its host unless private addresses are allowed. `URL.parse` has already turned
 * `0x7f.1`, `017700000001` and `2130706433` into the addresses that they stand for (URL Standard).
 */
export async function findUrlFaults(text: string, { allowHttp, allowPrivate, resolve = dnsLookup }: AddressPolicy): Promise<Fault[]> {
  const fault = (detail: string): Fault[] => [{ pointer: '/url', detail }]
  const url = URL.parse(text)
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) return fault('must be a URL that begins with https://')
  if (url.protocol === 'http:' && !allowHttp) return fault('must begin with https:// (http:// needs WEBHOOK_ALLOW_HTTP)')
  if (url.username !== '' || url.password !== '') return fault('must not contain a user or a password')
  if (url.hash !== '') return fault('must not have a fragment')
  if (allowPrivate) return []
  const host = stripBrackets(url.hostname)
  try {
    const addresses = ipaddr.isValid(host) ? [{ address: host }] : await promisify(resolve)(host, { all: true })
    return addresses.every(({ address }) => isPublic(address)) ? [] : fault('must lead to a public address')
  } catch {
    return fault('has a host that does not resolve')
  }
}

/** Throws AddressRefused if the host of the URL is a private address: connections to literal addresses never call a lookup function. */
export function refusePrivateLiteral(url: URL, { allowPrivate }: AddressPolicy): void {
  const host = stripBrackets(url.hostname)
  if (!allowPrivate && ipaddr.isValid(host) && !isPublic(host)) throw new AddressRefused(`${host} is not a public address`)
}

type LookupCallback = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void

/** Returns a lookup function for `net.connect`. It refuses a host if any of its addresses is private. */
export const createGuardedLookup =
  ({ allowPrivate, resolve = dnsLookup }: AddressPolicy) =>
  (hostname: string, options: LookupOptions, callback: LookupCallback): void => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, [])
      const privateAddress = allowPrivate ? undefined : addresses.find(({ address }) => !isPublic(address))
      if (privateAddress)
        return callback(new AddressRefused(`${hostname} leads to ${privateAddress.address}, which is not a public address`), [])
      if (options.all) return callback(null, addresses)
      const [first] = addresses
      if (first) callback(null, first.address, first.family)
      else callback(new AddressRefused(`${hostname} has no address`), [])
    })
  }
